"""The criterion of IRIS against a literal reference, and learning."""

import torch
import torch.nn.functional as F

from tests.objectives.made_videos import fit
from worldjepa.build import build_model
from worldjepa.build_objective import build_objective
from worldjepa.model.frames import normalise_pixels
from worldjepa.model.iris.dynamics import TokenDynamics
from worldjepa.model.iris.tokenizer import FrameTokenizer
from worldjepa.objectives.iris import TokenPrediction
from worldjepa.schema import from_dict
from worldjepa.types import Batch
from worldjepa.validate import validate

SETTINGS = {
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
            "frames_per_step": 1,
            "attention": "step",
        },
        "masked_predictor": {"dim": 24, "depth": 1, "num_heads": 2},
        "predictor": {"conditioning": "tokens", "dim": 24, "depth": 2, "num_heads": 2},
        "tokens": {"num_codes": 16, "latent_dim": 8},
    },
    "objective": {
        "kind": "iris",
        "loss": "l1",
        "null_actions": 0.0,
        "weights": {"prediction": 1.0, "reconstruction": 10.0, "commitment": 0.25},
    },
}


def build():
    config = from_dict(SETTINGS)
    validate(config)
    objective = build_objective(config, build_model(config))
    assert isinstance(objective, TokenPrediction)
    return objective


def windows(rows=3):
    """Return windows whose frames are four squares of one of four shades each."""
    draw = torch.Generator().manual_seed(0)
    shades = 85 * torch.randint(0, 4, (rows, 4, 1, 2, 2), dtype=torch.uint8, generator=draw)
    frames = shades.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4).expand(-1, -1, 3, -1, -1)
    return Batch(frames, actions=torch.randn(rows, 3, 4, generator=draw))


def test_terms_equal_a_literal_reference():
    objective, batch = build().eval(), windows()
    terms, seen = objective(batch)
    tokenizer, dynamics = objective.model.encoder, objective.model.predictor
    assert isinstance(tokenizer, FrameTokenizer) and isinstance(dynamics, TokenDynamics)
    frames = batch.frames.float() / 255
    vectors = tokenizer.proj(tokenizer.encoder(normalise_pixels(frames)))
    ids = (vectors.unsqueeze(-2) - tokenizer.codebook.codes).square().sum(dim=-1).argmin(dim=-1)
    codes = tokenizer.codebook.codes[ids]
    drawn = objective.model.heads["pixels"](codes)
    logits = dynamics(codes, batch.actions)
    likelihood = F.log_softmax(logits, dim=-1).gather(-1, ids[:, 1:].unsqueeze(-1))
    expected = {
        "prediction": -likelihood.flatten(1).mean(dim=1),
        "reconstruction": (drawn - frames).abs().flatten(1).mean(dim=1),
        "commitment": (vectors - codes).square().flatten(1).mean(dim=1),
    }
    torch.testing.assert_close(terms, expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(seen.raw, codes.flatten(1, 2))


def test_the_encoder_learns_through_the_codes_and_not_from_the_transformer():
    objective = build()
    objective(windows())[0]["prediction"].sum().backward()
    assert all(p.grad is None for p in objective.tokenizer.parameters())
    assert all(p.grad is not None for p in objective.dynamics.blocks.parameters())
    objective.zero_grad(set_to_none=True)
    objective(windows())[0]["reconstruction"].sum().backward()
    assert all(p.grad is not None for p in objective.tokenizer.parameters())
    assert all(p.grad is None for p in objective.dynamics.parameters())


def test_codes_move_in_training_alone():
    objective = build()
    codes = objective.tokenizer.codebook.codes.clone()
    objective.eval()(windows())
    assert torch.equal(objective.tokenizer.codebook.codes, codes)
    objective.train()(windows())
    assert not torch.equal(objective.tokenizer.codebook.codes, codes)


def test_one_batch_is_overfitted():
    objective = build()
    losses = fit(objective, windows(rows=2), steps=120, rate=3e-3)
    assert losses[-1] < 0.45 * losses[0]
