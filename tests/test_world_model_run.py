"""A world model from nothing, as a user starts it: collects, trains, measures, loads, goes on."""

import json

import pytest
import torch

import worldjepa
from tests.runs import TINY, TINY_WORLD
from worldjepa.train import main


def test_it_collects_trains_and_measures(world_run):
    assert len(list((world_run / "episodes").glob("**/*.safetensors"))) == 12
    records = [json.loads(line) for line in (world_run / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 6
    terms = {"loss", "prediction", "rollout", "sigreg", "inverse_dynamics", "pixels"}
    assert terms <= set(records[-1])
    found = json.loads((world_run / "dynamics.json").read_text())
    horizon = len(found["rollout"]["predicted"])
    assert len(found["rollout"]["copied"]) == horizon
    assert (found["rollout"]["windows"], found["rollout"]["shuffled"]) == (1, None)  # no other's actions
    assert found["rollout"]["context"] + horizon == 11  # episodes of 20 steps, in blocks of 2
    assert found["state"]["names"] == ["position.0", "position.1"]
    assert len(found["state"]["ahead"]) == horizon
    assert (world_run / "pictures" / "imagined_00000006.png").stat().st_size > 1000


def test_it_loads_with_all_it_needs(world_run):
    model = worldjepa.load(world_run)
    assert model.predictor is not None and model.action_stats is not None
    assert (model.action_block, model.predictor.action_dim, model.predictor.grid.p) == (2, 4, 1)
    assert set(model.heads) == {"pixels"}
    assert model.fit == "squeeze"  # what collecting does with pictures of another shape
    assert 0.2 < float(model.action_stats.std.mean()) < 0.9  # of actions in [-1, 1]
    latents = model.encode(torch.zeros(2, 3, 3, 16, 16, dtype=torch.uint8))
    assert latents.shape == (2, 3, 1, 8)
    future = model.rollout(latents, torch.zeros(2, 5, 4, 4))
    assert future.shape == (2, 5, 4, 1, 8)
    assert model.heads["pixels"](future[:, 0]).shape == (2, 4, 3, 16, 16)


def test_a_finished_run_says_so_and_other_settings_are_refused(world_run, caplog, capsys):
    caplog.set_level("INFO", logger="worldjepa")
    assert main([*TINY_WORLD, f"run.dir={world_run}"]) == 0
    assert "is finished: 6 steps" in caplog.text
    assert main([*TINY_WORLD, f"run.dir={world_run}", "model.action_block=4"]) == 2
    assert "model.action_block" in capsys.readouterr().err


def test_recorded_episodes_serve_another_run(world_run, tmp_path):
    words = [
        *TINY_WORLD,
        f"data.root={world_run / 'episodes'}",
        f"run.dir={tmp_path / 'run'}",
        "objective=ema",
    ]
    assert main([*words, "train.precision=fp32", "train.steps=3"]) == 0
    model = worldjepa.load(tmp_path / "run")
    assert model.target_encoder is not None
    assert not (tmp_path / "run" / "episodes").exists()


def test_a_pretrained_video_encoder_may_stay_frozen(world_run, corpus, tmp_path):
    assert main([*TINY, f"data.root={corpus}", f"run.dir={tmp_path / 'video'}", "train.steps=2"]) == 0
    words = [word for word in TINY_WORLD if not word.startswith(("model.encoder", "data.size"))]
    words = [word for word in words if "sigreg" not in word]
    words += ["objective=frozen", f"model.frozen={tmp_path / 'video'}", f"run.dir={tmp_path / 'run'}"]
    words += [f"data.root={world_run / 'episodes'}", "data.size=32", "train.steps=3"]
    assert main(words) == 0
    ours, theirs = worldjepa.load(tmp_path / "run"), worldjepa.load(tmp_path / "video")
    frames = torch.randint(0, 256, (1, 1, 3, 32, 32), dtype=torch.uint8)
    assert theirs.target_encoder is not None
    theirs.target_encoder.attention, theirs.target_encoder.frames_per_step = "step", 1
    torch.testing.assert_close(ours.encode(frames), theirs.encode(frames))
    assert ours.rollout(ours.encode(frames), torch.zeros(1, 2, 4)).shape == (1, 2, 4, 32)


def test_episodes_of_other_widths_are_refused(world_run, tmp_path, capsys):
    words = [*TINY_WORLD, f"data.root={world_run / 'episodes'}", f"run.dir={tmp_path / 'run'}"]
    assert main([*words, "model.action_dim=3"]) == 2
    assert "model.action_dim=3: the episodes of" in capsys.readouterr().err


AGENT = [
    "agent.rounds=1",
    "optim.schedule=wsd",
    "model.heads=[reward, pixels]",
    "objective.weights.reward=1",
]


@pytest.mark.parametrize("asked", [["plan.success={position: 0.1}"], AGENT])
def test_actions_without_bounds_are_refused_before_anything_is_collected(asked, tmp_path, capsys):
    env = ["env.id=tests.data.made_envs:made/Made-v0", "env.kwargs={space: open}"]
    assert main([*TINY_WORLD, *env, f"run.dir={tmp_path / 'run'}", *asked]) == 2
    assert "actions are open on a side" in capsys.readouterr().err
    assert not (tmp_path / "run" / "episodes").exists()


def test_from_config_asks_the_environment_for_its_actions():
    model = worldjepa.from_config("two_rooms")
    assert model.predictor is not None
    assert (model.predictor.action_dim, model.action_block) == (10, 5)
    tiny = worldjepa.from_config("two_rooms", overrides=["model=tiny", "model.action_dim=2"])
    assert tiny.encoder.dim == 192
    with pytest.raises(ValueError, match=r"set env\.id=ID"):
        worldjepa.from_config("gym")
