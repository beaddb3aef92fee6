"""Image prediction: every latent step by itself, with masks of images."""

import copy

import pytest
import torch
from einops import rearrange

from tests.objectives.made_videos import clips, encoder, fit
from worldjepa.model.frames import normalise_pixels
from worldjepa.model.masking import build_strategy, draw_masks
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.objectives.ijepa import ImagePrediction, by_step
from worldjepa.objectives.masked import MaskedPrediction
from worldjepa.types import Grid, Masks


def build(kind: type[MaskedPrediction] = ImagePrediction, **changes):
    torch.manual_seed(0)
    net = encoder(attention="step")
    target = copy.deepcopy(net).requires_grad_(False)
    for parameter in target.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    predictor = MaskedPredictor(latent_dim=32, dim=24, depth=2, num_heads=2)
    return kind(net, target, predictor, loss="l2", **changes)


def blocks(objective, batch):
    strategy = build_strategy({"strategy": "block", "num_targets": 2})
    return draw_masks((strategy,), objective.encoder.grid(batch.frames), len(batch.frames), seed=0, step=0)


def test_ids_of_a_clip_become_those_of_its_images():
    """On a grid of 2 x (1, 3), ids 0, 2 of the first step and 3, 5 of the second are places 0, 2 of each."""
    ids = torch.tensor([[0, 2, 3, 5], [1, 2, 4, 5]])
    expected = torch.tensor([[0, 2], [0, 2], [1, 2], [1, 2]])
    assert torch.equal(by_step(ids, Grid(2, 1, 3)), expected)
    for uneven in ([[0, 1, 2, 3]], [[0, 1, 3]]):
        with pytest.raises(ValueError, match="masking=image"):
            by_step(torch.tensor(uneven), Grid(2, 1, 3))


def test_a_clip_scores_the_mean_of_its_images_alone():
    objective, batch = build(), clips()
    masks = blocks(objective, batch)
    terms, seen = objective(batch, masks)
    alone = build(MaskedPrediction)  # the same weights
    images = rearrange(normalise_pixels(batch.frames.float() / 255), "b (t f) c y x -> b t f c y x", f=2)
    for step in range(2):
        cut = (masks[0].context // 16 == step, masks[0].target // 16 == step)
        here = Masks(*((m[c] % 16).view(3, -1) for m, c in zip((masks[0].context, masks[0].target), cut)))  # noqa: B905
        found = alone.terms(images[:, step], (here,))[0]["prediction"]
        terms["prediction"] = terms["prediction"] - found / 2
    torch.testing.assert_close(terms["prediction"], torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        seen.raw, objective.target_encoder(normalise_pixels(batch.frames.float() / 255)).flatten(1, 2)
    )
    assert seen.predictions[0].shape[1] == masks[0].target.shape[1]


def test_one_batch_is_overfitted():
    objective, batch = build(), clips(rows=2)
    losses = fit(objective, batch, blocks(objective, batch), steps=60)
    assert losses[-1] < 0.6 * losses[0]
