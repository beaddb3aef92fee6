"""The masked autoencoder: its targets by hand, what it sees, and learning."""

import torch

from tests.objectives.made_videos import clips, decoder, encoder, fit
from worldjepa.model.frames import normalise_pixels
from worldjepa.model.layers.tubelet import gather_tokens
from worldjepa.model.masking import build_strategy, draw_masks
from worldjepa.objectives.mae import MaskedAutoencoder, normalise_tubelets
from worldjepa.types import Batch


def build():
    return MaskedAutoencoder(encoder(), decoder(masked=True))


def tubes(objective, batch, settings=1):
    strategies = (build_strategy({"strategy": "random_tube", "ratio": 0.75}),) * settings
    return draw_masks(strategies, objective.encoder.grid(batch.frames), len(batch.frames), seed=0, step=0)


def test_each_channel_of_a_tubelet_is_normalised_by_itself():
    """1, 2, 3, 4 have the mean 2.5 and the (unbiased) variance 5/3; a constant channel becomes 0."""
    tubelets = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 7.0, 7.0, 7.0, 7.0]]])
    spread = (5 / 3) ** 0.5
    expected = torch.tensor([[[-1.5, -0.5, 0.5, 1.5, 0.0, 0.0, 0.0, 0.0]]]) / spread
    torch.testing.assert_close(normalise_tubelets(tubelets, 2), expected, atol=1e-5, rtol=1e-5)


def test_the_term_equals_a_literal_reference_row_by_row():
    objective, batch = build(), clips()
    masks = tubes(objective, batch, settings=2)
    terms, seen = objective(batch, masks)
    frames = normalise_pixels(batch.frames.float() / 255)
    for row in range(3):
        total = 0.0
        for mask in masks:
            here = mask.rows(row, row + 1)
            context = objective.encoder.visible(frames[row : row + 1], here.context)
            drawn = objective.auxiliary["decoder"](context, seen.grid, here)
            pixels = gather_tokens(objective.encoder.tubelets(frames[row : row + 1]), here.target)
            channels = pixels.unflatten(2, (3, -1))
            wanted = (channels - channels.mean(3, keepdim=True)) / (channels.std(3, keepdim=True) + 1e-6)
            total += (drawn - wanted.flatten(2)).square().mean().item()
        assert abs(terms["prediction"][row].item() - total / 2) < 1e-4


def test_hidden_pixels_change_the_target_and_not_what_is_drawn():
    objective, batch = build(), clips(rows=1)
    masks = tubes(objective, batch)
    hidden = torch.ones(1, 32, dtype=torch.bool).scatter_(1, masks[0].context, False)
    noise = torch.randint(0, 256, (1, 32, 96), dtype=torch.uint8)
    tubelets = objective.encoder.embed.patchify(batch.frames.float())
    changed = torch.where(hidden.unsqueeze(2), noise, tubelets.to(torch.uint8))
    frames = changed.unflatten(1, (2, 4, 4)).unflatten(4, (3, 2, 4, 4))  # b t h w c dt dy dx
    other = Batch(frames.permute(0, 1, 5, 4, 2, 6, 3, 7).reshape(1, 4, 3, 16, 16))
    (before, seen), (after, again) = objective(batch, masks), objective(other, masks)
    assert torch.equal(seen.raw, again.raw)
    assert not torch.equal(before["prediction"], after["prediction"])


def test_one_batch_is_overfitted():
    objective, batch = build(), clips(rows=2)
    losses = fit(objective, batch, tubes(objective, batch), steps=120)
    assert losses[-1] < 0.75 * losses[0]
