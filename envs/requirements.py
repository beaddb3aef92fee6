"""Packages that an environment is made of, which not everybody has.

Only environments of others that need a wrapper have ids of ours. All else is made by its own id with the
package in front, such as ``shimmy:dm_control/walker-walk-v0`` or ``gymnasium_robotics:FetchReach-v4``.
"""

from __future__ import annotations

import importlib

from gymnasium.error import DependencyNotInstalled


def require(module: str, extra: str, name: str) -> None:
    """Import what the environment ``name`` is made of.

    Raises:
        DependencyNotInstalled: The package of ``module`` is not there; says the command that installs it.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        message = f"{name} needs {error.name}, which is not installed: pip install 'worldjepa[{extra}]'"
        raise DependencyNotInstalled(message) from None
