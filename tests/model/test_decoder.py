"""The pixel decoder: whose tubelets it draws, from what, and where they stand."""

import pytest
import torch

from worldjepa.model.decoder import PixelDecoder
from worldjepa.model.layers.sincos import grid_sincos
from worldjepa.types import Grid, Masks

GRID = Grid(2, 2, 2)
MASKS = Masks(torch.tensor([[0, 3, 5]]), torch.tensor([[1, 2, 4, 6]]))


def decoder(**changes):
    torch.manual_seed(0)
    made = PixelDecoder(latent_dim=8, pixels=6, dim=12, num_heads=2, **{"depth": 2, **changes})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def test_without_blocks_a_hidden_tubelet_is_drawn_from_the_mask_token_and_its_place():
    one = decoder(depth=0, masked=True, positions="sincos")
    assert one.mask_token is not None
    places = grid_sincos(GRID, 12, True, torch.device("cpu"), False)[0]
    expected = one.proj(one.norm(one.mask_token + places[MASKS.target[0]]))
    torch.testing.assert_close(one(torch.randn(1, 3, 8), GRID, MASKS)[0], expected)


def test_without_blocks_or_masks_a_tubelet_is_drawn_from_its_latent():
    one, latents = decoder(depth=0), torch.randn(2, 8, 8)
    torch.testing.assert_close(one(latents, GRID), one.proj(one.norm(one.embed(latents))))


@pytest.mark.parametrize("positions", ["rope", "sincos"])
def test_hidden_tubelets_depend_on_where_the_visible_ones_stand_not_on_their_order(positions):
    one, latents = decoder(masked=True, positions=positions), torch.randn(1, 3, 8)
    drawn, turned = one(latents, GRID, MASKS), torch.tensor([2, 0, 1])
    again = one(latents[:, turned], GRID, Masks(MASKS.context[:, turned], MASKS.target))
    torch.testing.assert_close(again, drawn, atol=1e-5, rtol=1e-5)
    moved = one(latents, GRID, Masks(torch.tensor([[0, 3, 7]]), MASKS.target))
    assert float((moved - drawn).detach().abs().max()) > 1e-3
