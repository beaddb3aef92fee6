"""A world model as an environment: agents train in what it imagines, and act in the real one.

starts = Starts.recorded(model, open_episodes("runs/mine/episodes"))
env = ImaginedVectorEnv(model, starts, num_envs=64, horizon=15)
"""

from __future__ import annotations

from worldjepa.imagination.as_sb3 import as_sb3_vec_env
from worldjepa.imagination.imagined_env import ImaginedVectorEnv
from worldjepa.imagination.starts import Starts

__all__ = ["ImaginedVectorEnv", "Starts", "as_sb3_vec_env"]
