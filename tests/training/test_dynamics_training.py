"""Training a tiny world model on batches in memory: resumed, divided over ranks, saved and loaded.

Run as a script, this file is one of two ranks.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import worldjepa
from worldjepa.artifact import latest_checkpoint
from worldjepa.build import build_model, build_objective, build_strategies
from worldjepa.config import TrainConfig
from worldjepa.data.badfiles import BadFileLog
from worldjepa.schema import ConfigError, from_dict
from worldjepa.training import distributed
from worldjepa.training.checkpoint import KeyMismatchError, load_checkpoint
from worldjepa.training.loop import Trainer
from worldjepa.training.pretrained import adopt_frozen
from worldjepa.types import Batch
from worldjepa.validate import validate

ROOT = Path(__file__).parents[2]
TINY = {
    "device": "cpu",
    "data": {"num_frames": 4, "size": 16},
    "model": {
        "target": "none",
        "latent_norm": "none",
        "action_block": 2,
        "action_dim": 2,
        "encoder": {
            "dim": 24,
            "depth": 1,
            "num_heads": 2,
            "patch_size": 8,
            "tubelet_size": 1,
            "attention": "step",
            "projector": {"pool": "flatten", "latent_dim": 16, "hidden_dim": 24},
        },
        "predictor": {"dim": 24, "depth": 2, "num_heads": 2},
    },
    "objective": {
        "kind": "dynamics",
        "loss": "l2",
        "rollout_steps": 3,
        "sigreg_projections": 32,
        "weights": {"prediction": 1.0, "rollout": 1.0, "sigreg": 0.5, "inverse_dynamics": 1.0},
    },
    "optim": {"lr": 1e-3, "schedule": "cosine", "warmup": 0.1, "ema": [0.9, 1.0], "grad_clip": None},
    "train": {
        "steps": 12,
        "batch_size": 8,
        "precision": "fp32",
        "checkpoint_every": 4,
        "keep_last": 10,
        "log_every": 1,
        "health_every": 4,
    },
}


def settings(**rooms):
    """Return the tiny run's settings with some rooms changed: ``train={"steps": 3}``."""
    merged = json.loads(json.dumps(TINY))
    for room, values in rooms.items():
        for name, value in values.items():
            inner = merged[room].get(name)
            if isinstance(inner, dict) and name != "weights":
                inner.update(value)
            else:
                merged[room][name] = value
    config = from_dict(merged, TrainConfig)
    validate(config)
    return config


class Windows:
    """Batches of moving squares: rows of the global batch are functions of (step, row)."""

    def __init__(self, config, step):
        self.step, self.rows = step, config.train.batch_size // distributed.world_size()
        self.first, self.steps = distributed.rank() * self.rows, config.data.num_frames

    def __next__(self):
        rows = [self._row(self.first + row) for row in range(self.rows)]
        self.step += 1
        return Batch(
            *(torch.stack(parts) for parts in zip(*rows, strict=True)), paths=("episode 0",) * self.rows
        )

    def _row(self, row):
        draw = torch.Generator().manual_seed(1000 * self.step + row)
        actions = 0.5 * torch.randn(self.steps - 1, 4, generator=draw)
        place = torch.cat([torch.randn(1, 2, generator=draw), actions.unflatten(1, (2, 2)).sum(1)]).cumsum(0)
        axis = torch.linspace(-3, 3, 16)
        spot = torch.exp(-(axis - place[:, :1]).square())[:, :, None]
        frames = (255 * spot * torch.exp(-(axis - place[:, 1:]).square())[:, None]).unsqueeze(1)
        return frames.expand(-1, 3, -1, -1).to(torch.uint8), actions, place[1:, 0]

    def __iter__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        pass


def trainer(config, run_dir):
    run_dir.mkdir(parents=True, exist_ok=True)
    model = build_model(config)
    if model.action_stats is not None:
        model.action_stats.set(torch.zeros(2), torch.full((2,), 0.5))
    return Trainer(
        config=config,
        run_dir=run_dir,
        model=model,
        objective=build_objective(config, model),
        strategies=build_strategies(config),
        batches=lambda step: Windows(config, step),
        device=torch.device("cpu"),
        bad_files=BadFileLog(run_dir / "bad_files.jsonl", 0.2),
    )


def sums(run_dir):
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None
    names = ("model.safetensors", "train_state.safetensors")
    return checkpoint.name, [hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in names]


EMA = {"target": "ema", "heads": ["reward"]}
EMA_WEIGHTS = {"prediction": 1.0, "rollout": 1.0, "variance": 1.0, "covariance": 0.1, "reward": 1.0}
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


# --- a frozen encoder ----------------------------------------------------------------------------


def pretrained(run_dir):
    """Leave a checkpoint of masked pretraining; return its target encoder."""
    from worldjepa.training.checkpoint import save_checkpoint

    encoder = {"dim": 24, "depth": 2, "num_heads": 2, "patch_size": 8, "positions": "sincos"}
    values = {"data": {"num_frames": 4, "size": 16}, "model": {"encoder": encoder}, "seed": 5}
    config = from_dict(values, TrainConfig)
    model = build_model(config)
    assert model.target_encoder is not None
    for parameter in model.target_encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_checkpoint(run_dir, 1, config=values, model=model.state_dict(), optimizer={}, record={})
    return model.target_encoder


FROZEN = {"latent_norm": "layer", "encoder": {"projector": {"pool": "none"}}}
ONLY_DYNAMICS = {"weights": {"prediction": 1.0, "rollout": 1.0}, "rollout_steps": 2}


def test_a_frozen_encoder_of_ours_stays_and_travels_with_the_checkpoint(tmp_path):
    source = pretrained(tmp_path / "video")
    config = adopt_frozen(
        settings(model=FROZEN | {"frozen": str(tmp_path / "video")}, objective=ONLY_DYNAMICS)
    )
    assert config.model.encoder.depth == 2 and config.model.encoder.attention == "step"
    run = trainer(config, tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in run.model.encoder.state_dict().items()}
    assert run.run()
    assert all(torch.equal(before[name], value) for name, value in run.model.encoder.state_dict().items())
    shutil.rmtree(tmp_path / "video")
    model = worldjepa.load(tmp_path / "run", device="cpu")
    assert model.target_encoder is None
    frames = next(Windows(config, 0)).frames[:2, :1]
    source.attention = "step"
    expected = source(model.prepare(frames.repeat_interleave(2, dim=1)))  # one frame fills its tubelet
    found = model.encoder(model.prepare(frames))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert model.rollout(model.encode(frames), torch.randn(2, 3, 4)).shape == (2, 3, 4, 24)


def test_a_timm_backbone_is_built_without_pretrained_weights_when_loaded(tmp_path, monkeypatch):
    import timm

    asked, create = [], timm.create_model

    def offline(name, pretrained, **rest):
        asked.append(pretrained)
        return create(name, pretrained=False, **rest)

    monkeypatch.setattr(timm, "create_model", offline)
    model = FROZEN | {"frozen": "timm/resnet10t", "encoder": {"projector": {"pool": "mean"}}}
    config = adopt_frozen(
        settings(model=model, objective=ONLY_DYNAMICS, data={"size": 32}, train={"steps": 4})
    )
    config.data.size = 32
    run = trainer(config, tmp_path)
    run.batches = lambda step: Grown(config, step)
    assert run.run()
    loaded = worldjepa.load(tmp_path, device="cpu")
    assert asked == [True, False]
    frames = next(Grown(config, 0)).frames
    assert torch.equal(loaded.encode(frames), run.model.eval().encode(frames))
    assert loaded.encode(frames).shape == (8, 4, 1, 512)


class Grown(Windows):
    """The same at 32 pixels."""

    def _row(self, row):
        frames, actions, rewards = super()._row(row)
        return frames.repeat_interleave(2, -1).repeat_interleave(2, -2), actions, rewards


def test_stored_settings_cannot_make_timm_fetch_from_elsewhere():
    for name in ("timm/hf-hub:evil/model", "timm/local-dir:/tmp/x", "timm/../x"):
        with pytest.raises(ConfigError, match="plain name of timm's registry"):
            settings(model=FROZEN | {"frozen": name}, objective=ONLY_DYNAMICS)


def test_batch_statistics_refuse_accumulation():
    config = settings(objective={"weights": {"prediction": 1.0}}, train={"accumulate": 2})
    with pytest.raises(ConfigError, match=r"model\.encoder\.projector\.norm=batch need the statistics"):
        build_objective(config, build_model(config))


# --- two ranks -----------------------------------------------------------------------------------


def two_ranks(folder):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launch, str(Path(__file__)), str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_two_ranks_equal_one_process(tmp_path):
    trainer(few(), tmp_path / "single").run()
    done = two_ranks(tmp_path / "double")
    assert done.returncode == 0, done.stderr
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group("cpu", timeout=60):
        trainer(few(), Path(sys.argv[1])).run()
