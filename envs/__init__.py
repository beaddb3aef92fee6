"""Gymnasium environments and wrappers of our own, as the package ``worldjepa.envs``.

Importing it registers them. They meet the rest of worldjepa only in Gymnasium's registry, so nothing here
imports it. Ids name the functions that build an environment; their modules are loaded when one is made.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

if "worldjepa/TwoRooms-v0" not in registry:
    register(
        id="worldjepa/TwoRooms-v0",
        entry_point="worldjepa.envs.two_rooms:two_rooms",
        vector_entry_point="worldjepa.envs.two_rooms:two_rooms_vector",
        max_episode_steps=100,
    )
    register(
        id="worldjepa/Point-v0",
        entry_point="worldjepa.envs.point:point",
        vector_entry_point="worldjepa.envs.point:point_vector",
        max_episode_steps=20,
    )
    register(id="worldjepa/PushT-v0", entry_point="worldjepa.envs.push_t:push_t", max_episode_steps=300)
    register(id="worldjepa/Reacher-v0", entry_point="worldjepa.envs.reacher:reacher", max_episode_steps=200)
