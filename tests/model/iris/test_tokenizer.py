"""The tokenizer of IRIS: nearest codes, how they move, and what decoding puts where."""

import pytest
import torch

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.iris.tokenizer import Codebook, FrameDecoder, FrameTokenizer
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


def test_vectors_that_are_not_finite_change_nothing():
    book = codebook([1.0, 0.0])
    book.follow(torch.tensor([[torch.nan, 0.0]]), torch.tensor([0]), lambda x: x, draw())
    assert torch.equal(book.codes, torch.tensor([[1.0, 0.0]])) and float(book.counts) == 1.0


def tokenizer(**changes):
    torch.manual_seed(0)
    settings = {"frames_per_step": 1, "tubelet_size": 1, "attention": "step", **changes}
    encoder = VideoEncoder(dim=24, depth=1, num_heads=2, patch_size=8, **settings)
    return FrameTokenizer(encoder, latent_dim=6, num_codes=12)


def test_frames_become_codes_each_by_itself():
    net, frames = tokenizer(), torch.randn(2, 3, 3, 16, 16)
    codes = net(frames)
    assert codes.shape == (2, 3, 4, 6) and net.latent_grid(16, 16) == (2, 2)
    assert torch.equal(codes, net.codebook.codes[net.codebook.nearest(codes)])
    assert torch.equal(net(frames[:, 1:2]), codes[:, 1:2])
    with pytest.raises(ValueError, match="frames_per_step=1"):
        tokenizer(attention="full")


def test_a_token_draws_its_square_of_the_frame():
    torch.manual_seed(0)
    decoder = PixelDecoder(latent_dim=6, pixels=3 * 8 * 8, dim=12, depth=0, num_heads=2)
    net, latents = FrameDecoder(decoder, grid=(2, 3), patch_size=8), torch.randn(2, 4, 6, 6)
    drawn = net(latents)
    assert drawn.shape == (2, 4, 3, 16, 24)
    square = decoder(latents[1, 2].unsqueeze(0), Grid(1, 2, 3))[0, 5].unflatten(0, (3, 8, 8))
    torch.testing.assert_close(drawn[1, 2, :, 8:, 16:], square)
