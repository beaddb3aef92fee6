"""An agent that drives environments: blocks handed out one by one, rows apart from each other."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.planning.stub_world import StubEnv, StubWorld
from worldjepa.agents import ActorCritic, AgentController
from worldjepa.data.episodes.action_spec import ActionSpec

SPEC = ActionSpec("box", low=(-2.0, -2.0), high=(2.0, 2.0), shape=(2,))
BOX = spaces.Box(-2, 2, (2,))


def stub(**settings) -> Any:
    world = StubWorld(**settings)
    world.encoder.latent_dim = 2
    return world


def agent_of(block: int = 1) -> ActorCritic:
    torch.manual_seed(0)
    agent = ActorCritic(latent_dim=2, action=SPEC, action_block=block, hidden_dim=8)
    for parameter in agent.actor.parameters():
        parameter.data.normal_(std=0.5)
    return agent


def latents_of(places) -> torch.Tensor:
    return torch.tensor(places, dtype=torch.float32).unsqueeze(1)


def test_blocks_of_the_mode_are_handed_out_one_by_one():
    agent, env = agent_of(block=2), StubEnv([[3, 4], [20, 9]])
    control = AgentController(stub(action_block=2), agent, action_space=BOX)
    expected = agent.policy(latents_of(env.positions)).mode().detach().numpy().reshape(2, 2, 2)
    first = control.act(env.frames())
    np.testing.assert_allclose(first, expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(control.act(env.step(first)), expected[:, 1], atol=1e-6)  # whatever is seen


def test_a_row_with_noise_is_the_same_beside_others_and_alone():
    env = StubEnv([[3, 4], [20, 9]])
    both = AgentController(stub(), agent_of(), action_space=BOX, explore=True, seed=3)
    alone = AgentController(stub(), agent_of(), action_space=BOX, explore=True, seed=3)
    greedy = AgentController(stub(), agent_of(), action_space=BOX)
    together = np.stack([both.act(env.frames()) for _ in range(3)])
    single = np.stack([alone.act(env.frames()[0]) for _ in range(3)])
    np.testing.assert_allclose(together[:, 0], single, atol=1e-6)
    assert not np.allclose(together[0], together[1])
    assert not np.allclose(together[0], greedy.act(env.frames()))


def test_velocity_comes_from_the_last_two_frames():
    """With two frames a latent step the encoder gets the one before and the last, the first one twice."""
    seen = []
    world = stub(action_block=2, frames_per_step=2)
    encode = world.encode
    world.encode = lambda frames: (
        seen.append(frames[0, :, 0].flatten(1).argmax(-1).tolist()),
        encode(frames),
    )[1]
    control = AgentController(world, agent_of(block=2), action_space=BOX)
    env = StubEnv([[0, 0]])
    for place in ([0, 0], [0, 1], [0, 2]):
        env.positions = np.array([place], float)
        control.act(env.frames())
    assert seen == [[0, 0], [1, 2]]


def test_a_reset_row_forgets_its_block():
    env = StubEnv([[3, 4], [20, 9]])
    control = AgentController(stub(action_block=2), agent_of(block=2), action_space=BOX)
    first = control.act(env.frames())
    control.reset(np.array([True, False]))
    second = control.act(env.frames())
    np.testing.assert_allclose(second[0], first[0], atol=1e-6)
    assert not np.allclose(second[1], first[1])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="blocks of 1 actions"):
        AgentController(stub(action_block=2), agent_of(), action_space=BOX)
    control = AgentController(stub(), agent_of(), action_space=BOX)
    control.act(StubEnv([[3, 4], [20, 9]]).frames())
    with pytest.raises(ValueError, match="call reset"):
        control.act(StubEnv([[3, 4]]).frames())


def test_other_actions_tokens_and_training_mode_are_refused():
    with pytest.raises(ValueError, match="trained with box actions"):
        AgentController(stub(), agent_of(), action_space=spaces.Discrete(2))
    two = ActorCritic(latent_dim=2, num_tokens=2, action=SPEC, hidden_dim=8)
    with pytest.raises(ValueError, match="latents of 2 x 2 numbers"):
        AgentController(stub(), two, action_space=BOX)
    world = stub()
    control = AgentController(world, agent_of(), action_space=BOX)
    world.train()
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        control.act(StubEnv([[3, 4]]).frames())
