"""V-JEPA 2-AC (arXiv:2506.09985, section 3): a frozen encoder, and a predictor with action tokens over it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from worldjepa.model.foreign.contents import Foreign, Report
from worldjepa.model.foreign.joining import Part, gather, translate, translate_encoder
from worldjepa.model.foreign.sizes import tensor_of
from worldjepa.model.kinematics import POSE

CAMERA = "extrinsics_encoder."
NUM_FRAMES = 8  # of a training window
NOTES = (
    "null action and null proprioception: the tokens of zeros; the release has none",
    "actions are not scaled",
)
CARRIED = "rollouts carry the pose (place, angles, gripper) on by the actions, as the published planner does"


def join_action_model(report: Report, encoder: Part, predictor: Part, *, image_size: int) -> Foreign:
    """Put a world model together: each frame encoded alone, tokens of action and proprioception.

    Args:
        report: what is known of the file so far; format and left over.
        encoder: the frozen encoder.
        predictor: the action predictor; its camera token, off in the release, is left over.
        image_size: of the frames trained on: rows and columns of other grids are scaled to its grid.
    """
    left_over = dict(report.left_over)
    tensors = dict(predictor.tensors)
    for name in [name for name in tensors if name.startswith(CAMERA)]:
        del tensors[name]
        left_over[f"predictor.{name}"] = "the camera's token is off in the release"
    frozen = translate_encoder(encoder, None, "rope", "encoder")
    frozen.sizes.update(attention="step", frames_per_step=1)
    found = translate(replace(predictor, tensors=tensors), "predictor")
    widths = {}
    for kind in ("action", "proprioception"):
        widths[kind] = tensor_of(found.tensors, f"{kind}_embed.weight", "predictor").shape[1]
        found.tensors[f"null_{kind}"] = tensor_of(found.tensors, f"{kind}_embed.bias", "predictor").clone()
    poses = set(widths.values()) == {POSE}
    found.sizes.update(
        conditioning="tokens",
        rope="vjepa2",
        trained_grid=image_size // frozen.sizes["patch_size"],
        kinematics="end_effector" if poses else None,
    )
    settings: dict[str, Any] = {
        "data": {"size": image_size, "num_frames": NUM_FRAMES},
        "model": {
            "latent_norm": "layer",
            "frozen": "V-JEPA 2-AC",  # where it is from; its weights are in the checkpoint
            "action_dim": widths["action"],
            "proprioception_dim": widths["proprioception"],
            "encoder": frozen.sizes,
            "predictor": found.sizes,
        },
        "objective": {
            "kind": "dynamics",
            "loss": "l1",
            "rollout_steps": 2,
            "weights": {"prediction": 1.0, "rollout": 1.0},
        },
    }
    note = f"trained on frames of {image_size} px (image_size=)"
    notes = (*report.notes, *NOTES, *([CARRIED] if poses else []), note)
    report = replace(report, left_over=left_over, notes=notes)
    joined = gather(report, settings, {"encoder.backbone": frozen, "predictor": found})
    width = widths["action"]
    joined.tensors.update({"action_stats.mean": torch.zeros(width), "action_stats.std": torch.ones(width)})
    return joined
