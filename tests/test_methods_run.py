"""Every criterion through the command's own entry: a run of a few steps, stopped on the way and continued."""

import json
import shutil

import pytest
import torch

import worldjepa
from tests.forks import Fork
from tests.runs import TINY, TINY_WORLD, count_lines, weights
from worldjepa.evaluate import main as evaluate
from worldjepa.model.blueprint import BlueprintError
from worldjepa.plan import main as plan
from worldjepa.train import main

METHODS = ("vjepa", "ijepa", "mae", "autoencoder", "vae", "byol")
OTHERS = ("+experiment", "objective", "model.heads")
IRIS = [
    *(word for word in TINY_WORLD if not word.startswith(OTHERS)),
    "+experiment=iris",
    "collect.policy=smooth",
    "env.kwargs={}",
    "plan.success={}",
    "model.action_block=2",
    "model.masked_predictor.dim=24",
    "model.tokens.num_codes=32",
    "model.tokens.latent_dim=8",
]


def interrupted(whole, folder, step):
    """Return a copy of a finished run as it stood after ``step``."""
    shutil.copytree(whole, folder)
    for name in ("labels.json", "dynamics.json", "checkpoints/latest"):
        (folder / name).unlink(missing_ok=True)
    for later in (folder / "checkpoints").glob("step_*"):
        if int(later.name.removeprefix("step_")) > step:
            shutil.rmtree(later)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_goes_on_where_it_was_stopped_and_loads(method, corpus, tmp_path):
    words = [*TINY, f"objective={method}", f"data.root={corpus}", "model.encoder.patch_size=8"]
    words += ["train.keep_last=10", f"seed={METHODS.index(method)}"]
    assert main([*words, f"run.dir={tmp_path / 'whole'}"]) == 0
    records = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 12 and records[-1]["effective_rank"] > 1
    again = interrupted(tmp_path / "whole", tmp_path / "again", 4)
    assert main([*words, f"run.dir={again}"]) == 0
    assert weights(again) == weights(tmp_path / "whole")
    model = worldjepa.load(again, device="cpu")
    assert model.encode(torch.zeros(1, 4, 3, 32, 32)).shape == (1, 2, 16, 32)


def test_iris_trains_goes_on_where_it_was_stopped_and_predicts(tmp_path):
    words = [*IRIS, "train.keep_last=10"]
    assert main([*words, f"run.dir={tmp_path / 'whole'}"]) == 0
    again = interrupted(tmp_path / "whole", tmp_path / "again", 3)
    assert main([*words, f"run.dir={again}"]) == 0
    assert weights(again) == weights(tmp_path / "whole")
    found = json.loads((again / "dynamics.json").read_text())
    assert found["state"]["names"] == ["position.0", "position.1"]
    assert (again / "pictures" / "imagined_00000006.png").exists()
    model = worldjepa.load(again, device="cpu")
    latents = model.encode(torch.zeros(2, 3, 3, 16, 16, dtype=torch.uint8))
    future = model.rollout(latents, torch.zeros(2, 5, 4, 4))
    assert future.shape == (2, 5, 4, 4, 8)
    codes = model.state_dict()["encoder.codebook.codes"]
    words_found = (future.flatten(0, -2).unsqueeze(1) == codes).all(dim=-1).any(dim=1)
    assert words_found.all()
    judged(again, model, tmp_path)


def judged(run, model, folder):
    """Plan with, probe and try to publish what was trained."""
    few = "plan.planner_settings={num_samples: 8, num_elites: 2, iterations: 1}"
    task = ["plan.success={position: 0.07}", "plan.episodes=2", "plan.goal_offset=4", "plan.budget=4"]
    assert plan([f"run.dir={run}", *task, "plan.horizon=2", "plan.film=0", few]) == 0
    found = json.loads((run / "plan.json").read_text())
    assert found["planning_ms"] > 0 and set(found["baselines"]) == {"copy", "random", "no_op", "oracle"}
    assert evaluate([f"run.dir={run}", "probe=[regression,gauges]", "eval.clips=40"]) == 0
    probes = json.loads((run / "evaluation.json").read_text())["probes"]
    assert set(probes) == {"regression", "gauges"}
    with pytest.raises(BlueprintError, match="FrameTokenizer cannot be described as data"):
        model.save_pretrained(folder / "published")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_it_ends_with_the_same_weights(method, corpus, tmp_path):
    words = [*TINY, f"objective={method}", f"data.root={corpus}", "model.encoder.patch_size=8"]
    words += ["train.steps=30", "train.checkpoint_every=3", "train.log_every=1"]
    whole, torn = (tmp_path / name for name in ("whole", "torn"))
    _, error = Fork(main, [*words, f"run.dir={whole}"]).communicate(timeout=300)
    assert (whole / "labels.json").exists(), error
    process = Fork(main, [*words, f"run.dir={torn}"])
    while process.poll() is None and count_lines(torn / "metrics.jsonl") < 13:
        pass
    process.kill()
    process.communicate(timeout=30)
    _, error = Fork(main, [*words, f"run.dir={torn}"]).communicate(timeout=300)
    assert weights(torn) == weights(whole), error
