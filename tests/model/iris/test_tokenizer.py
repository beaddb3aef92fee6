"""The tokenizer of IRIS: nearest codes, how they move, and what decoding puts where."""

import pytest
import torch

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frames import PIXEL_MEAN, PIXEL_STD, normalise_pixels
from worldjepa.model.iris.tokenizer import LEAST, Codebook, Contrast, FrameDecoder, FrameTokenizer
from worldjepa.types import Grid


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def codebook(*codes, counts=None):
    book = Codebook(len(codes), len(codes[0]))
    book.codes.copy_(torch.tensor(codes))
    book.counts.copy_(torch.ones(len(codes)) if counts is None else torch.tensor(counts))
    return book


def test_the_nearest_code_is_that_of_least_distance():
    book, vectors = Codebook(40, 6), torch.randn(2, 5, 6, generator=draw())
    distances = (vectors.unsqueeze(-2) - book.codes).square().sum(dim=-1)
    assert torch.equal(book.nearest(vectors), distances.argmin(dim=-1))
    assert torch.equal(book.nearest(book.codes), torch.arange(40))
    assert torch.equal(book(torch.tensor([[3, 1]])), book.codes[[3, 1]].unsqueeze(0))


def test_a_code_moves_to_the_moving_average_of_its_vectors():
    """Counts 1 -> 0.9 + 0.1 * 2 = 1.1; code (0.9 * (1, 0) + 0.1 * ((3, 0) + (1, 4))) / 1.1."""
    book = codebook([1.0, 0.0], [-5.0, 0.0])
    vectors, ids = torch.tensor([[3.0, 0.0], [1.0, 4.0]]), torch.tensor([0, 0])
    book.follow(vectors, ids, lambda x: x, draw())
    torch.testing.assert_close(book.codes[0], torch.tensor([1.3, 0.4]) / 1.1)
    torch.testing.assert_close(book.codes[1], torch.tensor([-5.0, 0.0]))
    torch.testing.assert_close(book.counts, torch.tensor([1.1, 0.9]))


def test_an_unused_code_begins_anew_among_the_vectors():
    book = codebook([1.0, 0.0], [9.0, 9.0], counts=[1.0, 0.0])
    vectors = torch.tensor([[3.0, 0.0], [1.0, 4.0]])
    book.follow(vectors, torch.tensor([0, 0]), lambda x: x, draw())
    assert any(torch.equal(book.codes[1], row) for row in vectors) and book.counts[1] == 1.0


def test_dead_codes_begin_anew_where_vectors_are_furthest_from_theirs():
    """Of 1000 vectors one lies far from the one code in use: all other codes go there, and may split it."""
    book = codebook([0.0, 0.0], *([9.0, 9.0],) * 20, counts=[1.0, *[0.0] * 20])
    vectors = torch.zeros(1000, 2)
    vectors[17] = torch.tensor([3.0, -4.0])
    book.follow(vectors, torch.zeros(1000, dtype=torch.long), lambda x: x, draw())
    assert torch.equal(book.codes[1:], vectors[17].expand(20, -1))


def test_vectors_that_all_have_their_code_are_no_reason_to_stop():
    book = codebook([1.0, 0.0], [9.0, 9.0], counts=[1.0, 0.0])
    book.follow(torch.tensor([[1.0, 0.0]]).expand(5, -1), torch.zeros(5).long(), lambda x: x, draw())
    assert torch.equal(book.codes, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))


def test_vectors_that_are_not_finite_change_nothing():
    book = codebook([1.0, 0.0])
    book.follow(torch.tensor([[torch.nan, 0.0]]), torch.tensor([0]), lambda x: x, draw())
    assert torch.equal(book.codes, torch.tensor([[1.0, 0.0]])) and float(book.counts) == 1.0


def test_contrasts_are_what_differs_from_the_mean_of_the_frames_seen():
    """After two steps both mean and variance are averages of the two; later a hundredth is new."""
    net = Contrast(8)
    first, second = (torch.rand(2, 3, 3, 8, 8, generator=draw(seed)) for seed in (0, 1))
    net.follow(first, lambda x: x)
    torch.testing.assert_close(net.mean, first.mean(dim=(0, 1)))
    torch.testing.assert_close(net.variance, (first - net.mean).square().mean())
    torch.testing.assert_close(net(first).square().mean(), torch.tensor(1.0))
    before = net.variance.clone()
    net.follow(second, lambda x: x)
    torch.testing.assert_close(net.mean, (first + second).mean(dim=(0, 1)) / 2)
    torch.testing.assert_close(net.variance, (before + (second - net.mean).square().mean()) / 2)
    torch.testing.assert_close(net.undo(net(first)), first)
    for _ in range(200):
        net.follow(first, lambda x: x)
    kept = net.mean.clone()
    net.follow(second, lambda x: x)
    torch.testing.assert_close(net.mean, 0.99 * kept + 0.01 * second.mean(dim=(0, 1)))


def test_frames_that_are_all_alike_have_no_contrast():
    net, frames = Contrast(8), torch.full((2, 3, 3, 8, 8), 0.7)
    net.follow(frames, lambda x: x)
    assert net(frames).abs().max() < 1e-4 and net.variance == LEAST


def test_frames_of_another_size_are_refused():
    with pytest.raises(ValueError, match="must be 8 x 8"):
        Contrast(8)(torch.zeros(1, 1, 3, 8, 16))


def tokenizer(**changes):
    torch.manual_seed(0)
    settings = {"frames_per_step": 1, "tubelet_size": 1, "attention": "step", **changes}
    encoder = VideoEncoder(dim=24, depth=1, num_heads=2, patch_size=8, **settings)
    net = FrameTokenizer(encoder, image_size=16, latent_dim=6, num_codes=12)
    net.contrast.follow(torch.randn(4, 3, 3, 16, 16), lambda x: x)
    return net


def test_frames_become_codes_each_by_itself():
    net, frames = tokenizer(), torch.randn(2, 3, 3, 16, 16)
    codes = net(frames)
    assert codes.shape == (2, 3, 4, 6) and net.latent_grid(16, 16) == (2, 2)
    contrasts = (frames - net.contrast.mean) / net.contrast.variance.sqrt()
    lower_left = net.proj(net.encoder(contrasts[:, :, :, 8:, :8]))  # each square by itself
    torch.testing.assert_close(net.proj(net.tokens(frames))[:, :, 2:3], lower_left)
    assert torch.equal(codes[:, :, 2], net.codebook.codes[net.codebook.nearest(lower_left[:, :, 0])])
    assert torch.equal(net(frames[:, 1:2]), codes[:, 1:2])
    with pytest.raises(ValueError, match="frames_per_step=1"):
        tokenizer(attention="full")


def test_a_token_draws_its_square_of_the_frame_over_the_mean():
    torch.manual_seed(0)
    decoder = PixelDecoder(latent_dim=6, pixels=3 * 8 * 8, dim=12, depth=0, num_heads=2)
    contrast = Contrast(16)
    frames = normalise_pixels(torch.rand(4, 3, 3, 16, 16))
    contrast.follow(frames, lambda x: x)
    net, latents = FrameDecoder(decoder, contrast, grid=(2, 2), patch_size=8), torch.randn(2, 5, 4, 6)
    drawn = net(latents)
    assert drawn.shape == (2, 5, 3, 16, 16)
    square = decoder(latents[1, 2].unsqueeze(0), Grid(1, 2, 2))[0, 3].unflatten(0, (3, 8, 8))
    seen = frames.mean(dim=(0, 1))[:, 8:, 8:] + square * contrast.variance.sqrt()
    std, mean = torch.tensor(PIXEL_STD).view(3, 1, 1), torch.tensor(PIXEL_MEAN).view(3, 1, 1)
    torch.testing.assert_close(drawn[1, 2, :, 8:, 8:], seen * std + mean)
