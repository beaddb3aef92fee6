"""A tiny world model in training, on batches made in memory, for the tests of its training."""

import hashlib
import json

import torch

from worldjepa.artifact import latest_checkpoint
from worldjepa.build import build_model
from worldjepa.build_objective import build_objective, build_strategies
from worldjepa.config import TrainConfig
from worldjepa.data.clips.badfiles import BadFileLog
from worldjepa.settings.schema import from_dict
from worldjepa.settings.validate import validate
from worldjepa.training import distributed
from worldjepa.training.loop import Trainer
from worldjepa.types import Batch

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
