"""Heads: shapes, and that each can learn what it is to say."""

import pytest
import torch

from worldjepa.model.heads import PixelHead, ScalarHead, VectorHead


def test_heads_give_a_value_a_latent_step():
    latents = torch.randn(2, 3, 4, 8)
    assert ScalarHead(latent_dim=8, num_tokens=4)(latents).shape == (2, 3)
    assert VectorHead(latent_dim=8, num_tokens=4, out_dim=5)(latents).shape == (2, 3, 5)


@pytest.mark.parametrize("grid", [(1, 1), (4, 4)])
def test_pixels_are_learnt_in_their_places(grid):
    torch.manual_seed(0)
    head = PixelHead(latent_dim=8, grid=grid, image_size=32)
    latents = torch.randn(6, 1, grid[0] * grid[1], 8)
    frames = torch.zeros(6, 1, 3, 32, 32)
    for row in range(6):
        frames[row, :, row % 3, 5 * row : 5 * row + 4, 3 * row :] = 1.0
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    loss = torch.tensor(0.0)
    for _ in range(150):
        loss = (head(latents) - frames).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05 * frames.var().item()


def test_a_square_is_drawn_from_its_own_token():
    head = PixelHead(latent_dim=8, grid=(2, 2), image_size=8)
    latents = torch.randn(1, 1, 4, 8)
    other = latents.clone()
    other[:, :, 1] += 1  # row 0, column 1
    changed = (head(latents) != head(other))[0, 0].any(0)
    assert changed[:4, 4:].all() and not changed[4:].any() and not changed[:, :4].any()
