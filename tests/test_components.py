"""Principal components as colours."""

import torch

from worldjepa.components import Components

# along the first axis from -4 to 4, along the second from -2 to 2, along the third from -1 to 1
CROSS = torch.tensor(
    [[4.0, 0, 0, 0], [-4, 0, 0, 0], [0, 2, 0, 0], [0, -2, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0]]
)


def test_the_axes_of_most_spread_are_found_in_order():
    found = Components.fit(CROSS + 7)
    torch.testing.assert_close(found.mean, torch.full((4,), 7.0))
    torch.testing.assert_close(found.directions, torch.eye(4)[:, :3])
    torch.testing.assert_close(
        (found.low, found.high), (torch.tensor([-4.0, -2, -1]), torch.tensor([4.0, 2, 1]))
    )


def test_colours_are_places_on_the_components():
    colours = Components.fit(CROSS).colours(torch.stack([CROSS[0], CROSS[3], CROSS[4], 2 * CROSS[1]]))
    assert colours.tolist() == [[255, 128, 128], [128, 0, 128], [128, 128, 255], [0, 128, 128]]


def test_a_direction_has_a_sign_of_its_own():
    """The same latents give the same colours whichever way the eigenvector came out."""
    latents = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0))
    assert (Components.fit(latents).directions.sum(dim=0) >= 0).all()
    assert Components.fit(latents).colours(latents).shape == (2, 3, 5, 3)


def test_narrow_and_equal_latents_have_colours_too():
    narrow = Components.fit(CROSS[:, :2])
    assert narrow.colours(CROSS[:1, :2]).tolist() == [[255, 128, 0]]
    assert Components.fit(torch.ones(4, 8)).colours(torch.ones(1, 8)).tolist() == [[0, 0, 0]]
