"""Training a tiny world model on batches in memory: resumed, divided over ranks, saved and loaded."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import worldjepa
from tests.forks import fork_ranks
from tests.training.tiny_world import EMA, EMA_WEIGHTS, Windows, settings, sums, trainer
from worldjepa.artifact import latest_checkpoint
from worldjepa.build import build_model
from worldjepa.build_objective import build_objective
from worldjepa.settings.schema import ConfigError
from worldjepa.training import distributed
from worldjepa.training.checkpoint import KeyMismatchError, load_checkpoint

RUNS = {
    "sigreg": {},
    "ema": {"model": EMA, "objective": {"weights": EMA_WEIGHTS}},
}


@pytest.mark.parametrize("kind", list(RUNS))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_it_ends_with_the_same_weights(kind, precision, tmp_path):
    config = settings(**RUNS[kind] | {"train": {"precision": precision}})
    whole = trainer(config, tmp_path / "whole")
    assert whole.run()
    for step in (4, 8):
        run_dir = tmp_path / f"from_{step}"
        shutil.copytree(
            tmp_path / "whole/checkpoints" / f"step_{step:08d}", run_dir / "checkpoints" / f"step_{step:08d}"
        )
        again = trainer(config, run_dir)
        found = latest_checkpoint(run_dir)
        assert found is not None
        again.restore(load_checkpoint(found))
        assert again.step == step and again.run()
        assert sums(run_dir) == sums(tmp_path / "whole")
    lines = (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    terms = config.objective.weights
    for record in records:
        assert record["loss"] == pytest.approx(sum(terms[name] * record[name] for name in terms), rel=1e-5)
    assert ("ema_momentum" in records[0]) == (kind == "ema")
    assert {"std", "effective_rank", "copy_nearest", "predictor"} <= records[-1].keys()


def test_what_is_saved_loads_and_rolls_out(tmp_path):
    config = settings()
    run = trainer(config, tmp_path)
    assert run.run()
    model = worldjepa.load(tmp_path, device="cpu")
    assert not model.training
    frames, actions = next(Windows(config, 0)).frames[:2], torch.randn(2, 5, 4)
    latents = model.encode(frames)
    future = model.rollout(latents, actions)
    run.model.eval()
    assert latents.shape == (2, 4, 1, 16) and future.shape == (2, 5, 1, 16)
    assert torch.equal(future, run.model.rollout(run.model.encode(frames), actions))
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    names = set(load_file(checkpoint / "model.safetensors"))
    assert {"action_stats.mean", "encoder.projector.norm.running_mean"} <= names
    assert {name.split(".")[0] for name in names} == {"encoder", "predictor", "action_stats"}
    assert "auxiliary.inverse_dynamics.out.weight" in load_file(checkpoint / "train_state.safetensors")


def test_a_checkpoint_without_the_objectives_own_weights_is_refused(tmp_path):
    run = trainer(settings(train={"steps": 4}), tmp_path)
    run.run()
    checkpoint = load_checkpoint(tmp_path / "checkpoints/step_00000004")
    del checkpoint.optimizer["auxiliary.inverse_dynamics.out.weight"]
    with pytest.raises(KeyMismatchError, match=r"1 missing: inverse_dynamics\.out\.weight"):
        run.restore(checkpoint)


@pytest.mark.slow
def test_it_learns_to_use_actions(tmp_path):
    quick = {"steps": 200, "batch_size": 32, "checkpoint_every": 1000, "log_every": 50}
    config = settings(train=quick, optim={"lr": 4e-3}, objective={"sigreg_projections": 128})
    run = trainer(config, tmp_path)
    assert run.run()
    model = run.model.eval()
    batch = next(Windows(settings(train={"batch_size": 64}), 10_000))
    with torch.no_grad():
        latents = model.encode(batch.frames)
        assert batch.actions is not None
        true, shuffled = (
            (model.rollout(latents[:, :1], actions) - latents[:, 1:]).square().mean().item()
            for actions in (batch.actions, batch.actions.roll(1, 0))
        )
        copied = (latents[:, 1:] - latents[:, :1]).square().mean().item()
        assert true < 0.5 * min(shuffled, copied)


def test_batch_statistics_refuse_accumulation():
    config = settings(objective={"weights": {"prediction": 1.0}}, train={"accumulate": 2})
    with pytest.raises(ConfigError, match=r"model\.encoder\.projector\.norm=batch need the statistics"):
        build_objective(config, build_model(config))


# --- two ranks ------------------------------------------------------------------------------------


def train_rank(folder):
    with distributed.process_group("cpu", timeout=60):
        trainer(few(), folder).run()


def test_two_ranks_equal_one_process(tmp_path):
    trainer(few(), tmp_path / "single").run()
    for process in fork_ranks(train_rank, tmp_path / "double"):
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
    for step, state in ((1, "train_state"), (6, "model")):
        path = f"checkpoints/step_{step:08d}/{state}.safetensors"
        ours, theirs = load_file(tmp_path / "double" / path), load_file(tmp_path / "single" / path)
        moments = [name for name in theirs if step == 6 or name.startswith("optim.exp_avg.")]
        scale = max(float(theirs[name].abs().max()) for name in moments) if step == 1 else 10.0
        assert len(moments) > 20 and ours.keys() == theirs.keys()
        for name in moments:
            assert float((ours[name] - theirs[name]).abs().max()) < 1e-5 * scale, name


def few():
    """Return a short run with every statistic of the batch, an EMA target, a head and inverse dynamics."""
    weights = EMA_WEIGHTS | {"sigreg": 0.1, "inverse_dynamics": 1.0}
    return settings(model=EMA, objective={"weights": weights}, train={"steps": 6, "checkpoint_every": 1})
