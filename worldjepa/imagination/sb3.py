"""A Gymnasium vector environment as Stable-Baselines3 wants it: a ``VecEnv`` with an info a row.

Only ``as_sb3_vec_env`` imports this file, as it needs that package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from worldjepa.data.collection.env_batch import row_of

FINALS = ("final_obs", "_final_obs", "final_info", "_final_info")


class SB3VecEnv(VecEnv):
    """The rows of ``env``, with the same numbers.

    ``infos[i]`` is what the row's step told; at an episode's end with ``terminal_observation``, and in
    ``TimeLimit.truncated`` whether it was only cut off. What the next episode's reset told is in
    ``reset_infos``. Attributes and methods are those of ``env``: its rows share them.

    Raises:
        ValueError: ``env`` does not reset in the same step.
    """

    def __init__(self, env: VectorEnv):
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                "Stable-Baselines3 expects environments that begin anew in the step that ended them; build "
                f"this one with autoreset_mode='SameStep', it has {getattr(mode, 'value', mode)}"
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions: np.ndarray | None = None

    def reset(self) -> Any:
        """Begin all episodes; with the seeds of ``seed()`` once."""
        seeds: Any = None if None in self._seeds else list(self._seeds)
        observations, infos = self.env.reset(seed=seeds)
        self.reset_infos = [row_of(infos, row) for row in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all rows."""
        assert self._actions is not None
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        self._actions = None
        now = {name: values for name, values in infos.items() if name not in FINALS}
        told = [row_of(now, row) for row in range(self.num_envs)]
        for row in np.flatnonzero(terminated | truncated).tolist():
            self.reset_infos[row], told[row] = told[row], row_of(infos.get("final_info", {}), row)
            told[row]["terminal_observation"] = infos["final_obs"][row]
        for row, info in enumerate(told):
            info["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row])
        return observations, rewards, terminated | truncated, told

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environment, once for each row asked for."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment, which all rows share."""
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environment once, for all rows; return the answer for each row asked for."""
        answer = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [answer for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return that no row has a wrapper of its own."""
        return [False for _ in self._get_indices(indices)]
