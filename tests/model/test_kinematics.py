"""Poses carried on by actions: against matrices multiplied out, by hand, and where nothing was measured."""

import math
from typing import Any

import pytest
import torch

from tests.model.foreign.published import next_pose
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.kinematics import euler_angles, moved, poses_ahead, rotation


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_moves_add_up_as_multiplied_out():
    poses, actions = draw(2, 20, 7)
    poses[:, 6].sigmoid_()
    found = moved(poses, actions)
    for pose, action, after in zip(poses, actions, found, strict=True):
        torch.testing.assert_close(after, next_pose(pose, action), atol=1e-12, rtol=0)
    assert bool(((found[:, 6] == 0) | (found[:, 6] == 1)).any())  # the gripper stops


def test_turns_by_hand():
    quarter = math.pi / 2
    pose = torch.tensor([1.0, 2, 3, quarter, 0, 0, 0.4], dtype=torch.float64)
    action = torch.tensor([0.5, 0, -1, 0, 0, quarter, 0.2], dtype=torch.float64)
    expected = torch.tensor([1.5, 2, 2, quarter, 0, quarter, 0.6], dtype=torch.float64)
    torch.testing.assert_close(moved(pose, action), expected)  # z turns after x: the angles as they are
    x, y = torch.eye(3, dtype=torch.float64)[:2]
    torch.testing.assert_close(rotation(expected[3:6]) @ x, y)  # x stays under x, then goes to y
    angles = torch.tensor([0.3, -1.2, 2.5], dtype=torch.float64)
    torch.testing.assert_close(euler_angles(rotation(angles)), angles)


def test_blocks_of_several_actions_and_rows_without_a_pose():
    pose, actions = draw(3, 7), 0.3 * draw(3, 4, 2, 14)
    pose[1, 2] = math.nan
    actions.requires_grad_(True)
    found = poses_ahead(pose, actions)
    assert bool(found[1].isnan().all()) and bool(found[[0, 2]].isfinite().all())
    one = actions[2, 3].detach().reshape(4, 7)
    after = pose[2]
    for index in range(4):
        after = next_pose(after, one[index])
        if index % 2:
            torch.testing.assert_close(found[2, 3, index // 2].detach(), after, atol=1e-12, rtol=0)
    found.nan_to_num().sum().backward()
    assert actions.grad is not None and bool(actions.grad.isfinite().all())
    assert actions.grad[0].abs().min() >= 0 and not actions.grad[1].any()


def test_straight_up_gradients_stay_finite():
    action = torch.tensor([0, 0, 0, 0, math.pi / 2, 0, 0.0], dtype=torch.float64, requires_grad=True)
    moved(torch.zeros(7, dtype=torch.float64), action).sum().backward()
    assert action.grad is not None and bool(action.grad.isfinite().all())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kinematics": "wheels"}, "kinematics must be end_effector or None, got 'wheels'"),
        ({"proprioception_dim": 3}, "needs proprioception and actions of 7 numbers"),
        ({"action_dim": 10}, "action blocks of 10"),
    ],
)
def test_other_widths_are_refused(change, words):
    settings: dict[str, Any] = {"action_dim": 14, "proprioception_dim": 7, "kinematics": "end_effector"}
    with pytest.raises(ValueError, match=words):
        ActionPredictor(latent_dim=8, dim=12, depth=1, num_heads=1, **settings | change)
