"""Nearest neighbours and their sheet."""

import torch

from worldjepa.report.neighbours import ALIKE, GAP, OTHER, nearest, neighbour_sheet

# four directions around a common mean: 0 and 1 are close to each other, so are 2 and 3
LATENTS = torch.tensor([[10.0, 1.0], [10.0, 0.9], [10.0, -1.0], [10.2, -0.9]])


def test_neighbours_are_those_of_most_alike_latents_after_the_mean():
    ids, values = nearest(LATENTS, torch.tensor([0, 3]), 2)
    assert ids[:, 0].tolist() == [1, 2]
    centred = LATENTS - LATENTS.mean(dim=0)
    slow = [torch.cosine_similarity(centred[0], centred[i], dim=0) for i in range(1, 4)]
    assert ids[0, 1] == 1 + int(torch.stack(slow)[1:].argmax()) + 1
    torch.testing.assert_close(values[0, 0], slow[0])


def test_there_are_no_more_than_there_are():
    ids, _ = nearest(LATENTS, torch.tensor([1]), 9)
    assert sorted(ids[0].tolist()) == [0, 2, 3]


def test_the_sheet_shows_pictures_and_whether_classes_agree():
    pictures = torch.stack([torch.full((3, 10, 10), 50 * i, dtype=torch.uint8) for i in range(4)])
    sheet = neighbour_sheet(
        pictures, torch.tensor([0]), torch.tensor([[1, 2]]), ["a", "a", "b", "b"], side=20
    )
    first, second = GAP, GAP + 20 + 5 * GAP
    third = second + 20 + 2 * GAP
    middle = GAP + 10
    assert sheet[:, middle, first + 10].tolist() == [0, 0, 0]
    assert sheet[:, middle, second + 10].tolist() == [50, 50, 50]
    assert sheet[:, middle, third + 10].tolist() == [100, 100, 100]
    assert sheet[:, middle, second - 1].tolist() == list(ALIKE)
    assert sheet[:, middle, third - 1].tolist() == list(OTHER)
    assert sheet[:, middle, first - 1].tolist() == [255, 255, 255]
    plain = neighbour_sheet(pictures, torch.tensor([0]), torch.tensor([[1]]), side=20)
    assert plain.shape[1] < sheet.shape[1] and plain.shape[2] < sheet.shape[2]
