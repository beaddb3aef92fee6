"""The autoencoder against a literal reference, and learning."""

import torch

from tests.objectives.made_videos import clips, decoder, encoder, fit
from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.frames import normalise_pixels
from worldjepa.objectives.autoencoder import Autoencoder


def test_the_term_is_the_mean_squared_difference_of_every_pixel():
    objective, batch = Autoencoder(encoder(), decoder()), clips()
    terms, seen = objective(batch)
    frames = normalise_pixels(batch.frames.float() / 255)
    latents = objective.encoder(frames).flatten(1, 2)
    drawn = objective.auxiliary["decoder"](latents, seen.grid)
    # token 21 is row 1, column 1 of the second latent step: frames 2 and 3, pixels 4 to 7 both ways
    patch = drawn[0, 21].unflatten(0, (3, 2, 4, 4))
    expected = (frames[0, 2:4, :, 4:8, 4:8].transpose(0, 1) - patch).square()
    tubelets = objective.encoder.tubelets(frames)
    whole = (drawn - tubelets).square()
    torch.testing.assert_close(whole[0, 21], expected.flatten())
    torch.testing.assert_close(terms["prediction"], whole.mean(dim=(1, 2)))
    torch.testing.assert_close(seen.raw, latents.detach())
    assert seen.predictions == () and seen.masks == ()


def test_pixels_are_exact_under_autocast():
    """A bright patch of low contrast has to be drawn as it is: bf16 would round a fifth of it away."""
    objective, batch = Autoencoder(encoder(), decoder()), clips(rows=1)
    exact = objective(batch)[0]["prediction"]
    drawn = objective.auxiliary["decoder"]
    assert isinstance(drawn, PixelDecoder)
    torch.nn.init.zeros_(drawn.proj.weight)  # what is left is the pixels
    plain = objective(batch)[0]["prediction"]
    with torch.autocast("cpu", torch.bfloat16):
        rough = objective(batch)[0]["prediction"]
    assert torch.equal(rough, plain) and not torch.equal(exact, plain)


def test_one_batch_is_overfitted():
    losses = fit(Autoencoder(encoder(), decoder()), clips(rows=2), steps=60)
    assert losses[-1] < 0.7 * losses[0]
