"""Tiny training runs for tests: the words of one, and what it left."""

import hashlib
import time

from worldjepa.artifact import latest_checkpoint

TINY = [
    "+experiment=kinetics",
    "device=cpu",
    "data.size=32",
    "data.num_frames=4",
    "data.frame_skip=2",
    "data.num_workers=0",
    "model=nano",
    "model.encoder.dim=32",
    "model.encoder.depth=2",
    "model.masked_predictor.dim=24",
    "model.masked_predictor.depth=1",
    "train.batch_size=4",
    "train.steps=12",
    "train.checkpoint_every=4",
    "train.log_every=2",
    "train.health_every=4",
    "data.index=off",
]

TINY_WORLD = [
    "+experiment=gym",
    "env.id=worldjepa/Point-v0",
    "env.state=[position]",
    "collect.num_episodes=12",
    "device=cpu",
    "data.size=16",
    "data.num_frames=4",
    "data.num_workers=0",
    "objective.rollout_steps=2",
    "model.encoder.dim=24",
    "model.encoder.depth=1",
    "model.encoder.num_heads=2",
    "model.encoder.patch_size=8",
    "model.encoder.projector.latent_dim=8",
    "model.encoder.projector.hidden_dim=16",
    "model.predictor.dim=24",
    "model.predictor.depth=1",
    "model.predictor.num_heads=2",
    "model.heads=[pixels]",
    "objective.weights.pixels=1.0",
    "objective.sigreg_projections=16",
    "train.batch_size=8",
    "train.steps=6",
    "train.checkpoint_every=3",
    "train.health_every=3",
    "train.picture_every=6",
]


def weights(run_dir):
    """Return the sha256 of the last checkpoint's tensors, weights and optimiser both."""
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None
    files = [checkpoint / "model.safetensors", checkpoint / "train_state.safetensors"]
    return checkpoint.name, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def count_lines(path):
    return path.read_text().count("\n") if path.exists() else 0


def wait_for(condition, seconds=90.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
