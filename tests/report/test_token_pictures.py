"""Tokens as pictures, their pixels worked out by hand."""

import torch

from worldjepa.components import Components
from worldjepa.report.token_pictures import (
    ATTENDED,
    GAP,
    GIVEN,
    LITTLE,
    MUCH,
    attention_film,
    error_colours,
    prediction_sheet,
    relative_error,
    token_film,
    token_maps,
)
from worldjepa.types import Grid

GRID = Grid(2, 2, 2)
RGB = Components(torch.zeros(3), torch.eye(3), torch.zeros(3), torch.ones(3))  # latents are colours already


def test_tokens_lie_where_their_patches_lie():
    values = torch.arange(8, dtype=torch.uint8).reshape(1, 2, 4, 1)
    assert token_maps(values, GRID)[0, :, 0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_a_token_film_shows_each_step_beside_its_frames():
    """Two clips of 4 frames in 2 latent steps; clip, time and place all have a colour of their own."""
    frames = torch.arange(8, dtype=torch.uint8).reshape(2, 4, 1, 1, 1).expand(2, 4, 3, 8, 8) * 20
    tokens = torch.zeros(2, 2, 4, 3)
    tokens[:, :, 3, 0] = 1.0  # the lower right patch is red
    tokens[:, 1, :, 2] = 1.0  # the second step is blue
    tokens[1, :, :, 1] = 1.0  # the second clip is green
    film = token_film(frames, tokens, GRID, components=RGB, side=8)
    assert film.shape == (4, 3, 8, 4 * 8 + GAP)
    for f in range(4):
        blue = 255 * (f >= 2)
        assert film[f, :, 0, 0].tolist() == [20 * f] * 3
        assert film[f, :, 0, 8].tolist() == [0, 0, blue]
        assert film[f, :, 7, 15].tolist() == [255, 0, blue]
        assert film[f, :, 0, 16 + GAP].tolist() == [80 + 20 * f] * 3
        assert film[f, :, 0, 24 + GAP].tolist() == [0, 255, blue]


def test_attention_above_an_equal_share_is_orange():
    """Of 8 tokens one gets 0.3, another 0.2, the rest less than an eighth: the second is half as strong."""
    frames = torch.full((1, 2, 3, 16, 16), 100, dtype=torch.uint8)
    weights = torch.full((1, 2, 4), 0.5 / 6)
    weights[0, 0, 0], weights[0, 1, 3] = 0.3, 0.2
    film = attention_film(frames, weights, GRID, side=16)
    assert film.shape == (2, 3, 16, 32)
    assert (film[0, :, :, :16] == 100).all()
    strong = [round(0.2 * 100 + 0.8 * part) for part in ATTENDED]
    share = (0.2 - 0.125) / (0.3 - 0.125)
    weak = [(1 - 0.8 * share) * 100 + 0.8 * share * part for part in ATTENDED]
    assert max(abs(int(a) - b) for a, b in zip(film[0, :, 0, 16], strong, strict=True)) <= 2
    assert max(abs(int(a) - b) for a, b in zip(film[1, :, 15, 31], weak, strict=True)) <= 2
    assert film[0, :, 15, 31].tolist() == [100, 100, 100]


def test_errors_are_shares_of_the_variance():
    true = torch.tensor([0.0, 2.0]).reshape(1, 1, 2, 1)  # variance 1
    assert relative_error(true, torch.tensor([1.0, 1.0]).reshape(1, 1, 2, 1)).tolist() == [[[1.0, 1.0]]]
    assert relative_error(true, torch.tensor([0.0, 4.0]).reshape(1, 1, 2, 1)).tolist() == [[[0.0, 4.0]]]
    assert error_colours(torch.tensor([0.0, 1.0, 7.0])).tolist() == [list(LITTLE), list(MUCH), list(MUCH)]


def test_a_prediction_sheet_has_four_lines_a_clip():
    frames = torch.full((1, 2, 3, 4, 4), 7, dtype=torch.uint8)
    true = torch.randn(1, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(1, 2, 4, dtype=torch.bool)
    hidden[0, 1, 3] = True
    sheet = prediction_sheet(frames, true, true.clone(), hidden, GRID, side=4)
    assert sheet.shape == (3, 4 * 4 + 3 * GAP, 2 * 4 + GAP)
    line = 4 + GAP
    assert sheet[:, 0, 0].tolist() == [7, 7, 7]
    truth = Components.fit(true).colours(true)[0, 1, 3].tolist()
    assert sheet[:, line + 3, -1].tolist() == truth
    assert sheet[:, 2 * line + 3, -1].tolist() == truth  # predicted exactly
    assert sheet[:, 2 * line, 0].tolist() == list(GIVEN)
    assert sheet[:, 3 * line + 3, -1].tolist() == list(LITTLE)
