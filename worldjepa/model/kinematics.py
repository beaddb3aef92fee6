"""What the measured pose of an arm becomes under its actions, so that a rollout need not forget it.

``end_effector`` is that of V-JEPA 2-AC (arXiv:2506.09985, section 3; facebookresearch/vjepa2,
``notebooks/utils/mpc_utils.py``): a pose is x, y, z, three Euler angles in radians (about the fixed axes x, y
and z, in this order) and how far the gripper is closed (0 to 1). An action holds what is added to place and
gripper, and a rotation that follows the pose's own.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

KINEMATICS = ("end_effector",)
POSE = 7
_LEAST = 1e-12  # keeps gradients finite where the arm points straight up or down


def poses_ahead(pose: Float[Tensor, "b q"], actions: Float[Tensor, "b s l a"]) -> Float[Tensor, "b s l q"]:
    """Return the pose after each action block.

    Args:
        pose: where each row stands, NaN where it was not measured: then all that follow are.
        actions: blocks of one or more of the environment's actions, in its units, step-major.
    """
    measured = pose.isfinite().all(dim=-1)
    known = torch.where(measured[:, None], pose, 0)  # NaN would spread into the gradients
    now = known[:, None].expand(-1, actions.shape[1], -1)
    found = []
    for block in actions.to(pose).unbind(dim=2):
        for action in block.unflatten(-1, (-1, POSE)).unbind(dim=-2):
            now = moved(now, action)
        found.append(now)
    return torch.stack(found, dim=2).masked_fill(~measured[:, None, None, None], math.nan)


def moved(pose: Float[Tensor, "*b 7"], action: Float[Tensor, "*b 7"]) -> Float[Tensor, "*b 7"]:
    """Return the pose after one action."""
    turn, before = rotation(action[..., 3:6]), rotation(pose[..., 3:6])
    turned = (turn.unsqueeze(-1) * before.unsqueeze(-3)).sum(dim=-2)  # a product that autocast leaves alone
    closed = (pose[..., 6:] + action[..., 6:]).clamp(0, 1)
    return torch.cat([pose[..., :3] + action[..., :3], euler_angles(turned), closed], dim=-1)


def rotation(angles: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the matrix that turns about the fixed axes x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(dim=-1), angles.sin().unbind(dim=-1)
    rows = (
        (cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz),
        (cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz),
        (-sy, sx * cy, cx * cy),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def euler_angles(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Return the angles of ``rotation``, the one about y within a quarter turn."""
    level = torch.hypot(matrix[..., 0, 0], matrix[..., 1, 0]).clamp_min(_LEAST)
    about_x = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    about_y = torch.atan2(-matrix[..., 2, 0], level)
    about_z = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack([about_x, about_y, about_z], dim=-1)
