"""The criterion of IRIS against a literal reference, and learning."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from tests.objectives.made_videos import fit
from worldjepa.build import build_model
from worldjepa.build_objective import build_objective
from worldjepa.model.frames import normalise_pixels
from worldjepa.model.iris.dynamics import TokenDynamics
from worldjepa.model.iris.tokenizer import FrameTokenizer
from worldjepa.objectives.iris import TokenPrediction
from worldjepa.settings.schema import from_dict
from worldjepa.settings.validate import validate
from worldjepa.types import Batch

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
        "weights": {"prediction": 1.0, "reconstruction": 1.0, "commitment": 0.25},
    },
}


def build(loss="l1"):
    config = from_dict({**SETTINGS, "objective": {**SETTINGS["objective"], "loss": loss}})
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
    objective.tokenizer.contrast.follow(torch.rand(2, 2, 3, 16, 16), lambda x: x)
    terms, seen = objective(batch)
    tokenizer, dynamics = objective.model.encoder, objective.model.predictor
    assert isinstance(tokenizer, FrameTokenizer) and isinstance(dynamics, TokenDynamics)
    frames = batch.frames.float() / 255
    contrast = tokenizer.contrast
    seen_so = (normalise_pixels(frames) - contrast.mean) / contrast.variance.sqrt()
    squares = [seen_so[..., y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8)]
    vectors = torch.cat([tokenizer.proj(tokenizer.encoder(square)) for square in squares], dim=2)
    ids = (vectors.unsqueeze(-2) - tokenizer.codebook.codes).square().sum(dim=-1).argmin(dim=-1)
    codes = tokenizer.codebook.codes[ids]
    drawn = (
        normalise_pixels(objective.model.heads["pixels"](codes)) - contrast.mean
    ) / contrast.variance.sqrt()
    logits = dynamics(codes, batch.actions)
    likelihood = F.log_softmax(logits, dim=-1).gather(-1, ids[:, 1:].unsqueeze(-1))
    expected = {
        "prediction": -likelihood.flatten(1).mean(dim=1),
        "reconstruction": (drawn - seen_so).abs().flatten(1).mean(dim=1),
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


def test_drawing_nothing_scores_one_whatever_the_contrast():
    objective = build(loss="l2").train()
    torch.nn.init.zeros_(objective.decoder.decoder.proj.weight)
    for contrast in (1, 20, 85):
        objective.tokenizer.contrast.steps.zero_()
        batch = windows(rows=4)
        batch = replace(batch, frames=(batch.frames // 85 * contrast).to(torch.uint8))
        missed = objective(batch)[0]["reconstruction"]
        torch.testing.assert_close(missed.mean(), torch.tensor(1.0))


def test_frames_that_are_all_alike_leave_the_loss_finite():
    objective = build().train()
    batch = replace(windows(), frames=torch.full((3, 4, 3, 16, 16), 200, dtype=torch.uint8))
    assert torch.isfinite(objective.total(objective(batch)[0]))


def test_one_batch_is_drawn_and_then_with_words_at_rest_foretold():
    objective, batch = build(), windows(rows=2)
    fit(objective, batch, steps=120, rate=3e-3)
    objective.eval().tokenizer.requires_grad_(False)
    assert float(objective(batch)[0]["reconstruction"].detach().mean()) < 0.4
    draw = torch.Generator().manual_seed(0)  # words that lie apart: those of one batch may coincide
    objective.tokenizer.codebook.codes.normal_(generator=draw)
    before = float(objective(batch)[0]["prediction"].detach().mean())
    fit(objective, batch, steps=120, rate=1e-2)
    assert float(objective(batch)[0]["prediction"].detach().mean()) < 0.3 * before
