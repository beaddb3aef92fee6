"""The networks of an agent, and its folder."""

import json

import pytest
import torch

from tests.agents.linear_world import BOX, COMPASS
from worldjepa.agents import ActorCritic, load_agent, save_agent
from worldjepa.artifact import TornFolderError
from worldjepa.data.episodes.action_spec import ActionSpec


@pytest.mark.parametrize("spec", [BOX, COMPASS], ids=["box", "choices"])
def test_an_agent_comes_back_as_it_was_and_nothing_is_pickled(spec, tmp_path):
    agent = ActorCritic(latent_dim=3, num_tokens=2, action=spec, action_block=2, hidden_dim=8, discount=0.9)
    agent.fit_scale(torch.tensor([4.0, -4.0]))
    folder = save_agent(tmp_path / "agent" / "round_0000", agent)
    assert {file.name for file in folder.iterdir()} == {"agent.json", "agent.safetensors", "manifest.json"}
    assert json.loads((folder / "agent.json").read_text())["action"]["kind"] == spec.kind
    latents = torch.randn(5, 2, 3)
    for path in (folder, tmp_path):  # the folder of an online run, too
        again = load_agent(path)
        assert float(again.reward_scale) == 4.0
        assert torch.equal(again.policy(latents).mode(), agent.policy(latents).mode())
        assert torch.equal(again.values(latents), agent.values(latents))


def test_the_last_round_counts_and_a_torn_one_is_refused(tmp_path):
    for number in range(11):
        agent = ActorCritic(latent_dim=2, action=BOX, hidden_dim=4, discount=number / 20)
        save_agent(tmp_path / "agent" / f"round_{number:04d}", agent)
    assert load_agent(tmp_path).discount == 0.5
    (tmp_path / "agent" / "round_0010" / "agent.safetensors").write_bytes(b"x")
    with pytest.raises(TornFolderError):
        load_agent(tmp_path)


def test_actions_stay_in_the_box_of_a_block_and_values_begin_at_zero():
    spec = ActionSpec("box", low=(-2.0, 0.0), high=(2.0, 1.0), shape=(2,))
    agent = ActorCritic(latent_dim=4, action=spec, action_block=3)
    latents, generator = torch.randn(7, 1, 4), torch.Generator().manual_seed(0)
    actions, entropy = agent.policy(latents).sample(agent.noise(generator, (7,)))
    assert actions.shape == (7, 6) and entropy.shape == (7,)
    steps = actions.unflatten(-1, (3, 2))
    assert (steps >= torch.tensor(spec.low)).all() and (steps <= torch.tensor(spec.high)).all()
    assert agent.values(latents).abs().max() == 0
    assert agent.values(latents, slow=True).abs().max() == 0


def test_the_slow_critic_follows():
    agent = ActorCritic(latent_dim=2, action=BOX, hidden_dim=4)
    for parameter in agent.critic.parameters():
        parameter.data.add_(1.0)
    before = [p.clone() for p in agent.slow_critic.parameters()]
    agent.follow(0.9)
    for slow, was in zip(agent.slow_critic.parameters(), before, strict=True):
        torch.testing.assert_close(slow, was + 0.1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"action": ActionSpec("box", low=(-float("inf"),), high=(1.0,), shape=(1,))}, "open on a side"),
        ({"hidden_dim": 0}, "hidden_dim=0: expected 1 or more"),
        ({"discount": 1.0}, "discount=1.0: expected 0 to below 1"),
    ],
)
def test_what_no_agent_can_be_built_of(settings, words):
    with pytest.raises(ValueError, match=words):
        ActorCritic(**{"latent_dim": 2, "action": BOX} | settings)


def test_a_folder_without_an_agent_says_how_to_train_one(tmp_path):
    with pytest.raises(ValueError, match=r"\+experiment=online"):
        load_agent(tmp_path)
