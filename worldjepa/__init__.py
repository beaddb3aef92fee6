"""worldjepa: world models from video, by prediction in latent space (JEPA)."""

from __future__ import annotations

import contextlib
import importlib
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldjepa.build import from_config
    from worldjepa.evaluation.features import features
    from worldjepa.imagination.imagined_env import ImaginedVectorEnv
    from worldjepa.imagination.latent_env import LatentVectorEnv
    from worldjepa.loading import load
    from worldjepa.model.action_predictor import ActionPredictor
    from worldjepa.model.encoder import VideoEncoder
    from worldjepa.model.predictor import MaskedPredictor
    from worldjepa.model.world_model import WorldModel
    from worldjepa.planning.controller import MPCController

__version__ = "0.1.0"
__all__ = [
    "ActionPredictor",
    "ImaginedVectorEnv",
    "LatentVectorEnv",
    "MPCController",
    "MaskedPredictor",
    "VideoEncoder",
    "WorldModel",
    "__version__",
    "features",
    "from_config",
    "load",
]

# torch takes seconds to load, so a name is looked up in its module when it is first asked for
_HOMES = {
    "ActionPredictor": "worldjepa.model.action_predictor",
    "ImaginedVectorEnv": "worldjepa.imagination.imagined_env",
    "LatentVectorEnv": "worldjepa.imagination.latent_env",
    "MPCController": "worldjepa.planning.controller",
    "MaskedPredictor": "worldjepa.model.predictor",
    "VideoEncoder": "worldjepa.model.encoder",
    "WorldModel": "worldjepa.model.world_model",
    "features": "worldjepa.evaluation.features",
    "from_config": "worldjepa.build",
    "load": "worldjepa.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'worldjepa' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))


class _SourceCheckout:
    """Finds ``conf/`` and ``envs/``, which stand beside this package in a source checkout.

    An installation maps them to ``worldjepa.conf`` and ``worldjepa.envs`` itself (``setup.py``); this is
    for a checkout that is imported where it lies, whatever else is installed.
    """

    root = Path(__file__).resolve().parent.parent

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname in ("worldjepa.conf", "worldjepa.envs"):
            return PathFinder.find_spec(fullname, [str(cls.root)], target)
        return None


if (_SourceCheckout.root / "conf" / "train.yaml").is_file() and _SourceCheckout not in sys.meta_path:
    sys.meta_path.append(_SourceCheckout)

# in a checkout that is not installed, nobody else does it; a package that was copied alone goes without
with contextlib.suppress(ModuleNotFoundError):
    importlib.import_module("worldjepa_ids").register_with_gymnasium()
