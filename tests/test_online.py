"""The online experiment at a tiny size: round by round; a killed one ends as one that was not."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import worldjepa
from tests.runs import TINY_WORLD, weights
from worldjepa.agents import AgentController, load_agent
from worldjepa.data.collection.record import episode_seed
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.online import OnlineRun
from worldjepa.train import main

WORDS = [
    *(word for word in TINY_WORLD if not word.startswith(("model.heads", "objective.weights", "env.state"))),
    "model.heads=[reward,termination]",
    "objective.weights.reward=1.0",
    "objective.weights.termination=1.0",
    "optim.schedule=wsd",
    "env.max_episode_steps=8",
    "collect.policy=random",
    "collect.num_episodes=10",
    "agent.rounds=3",
    "agent.steps=9",
    "agent.horizon=3",
    "agent.batch_size=8",
    "agent.hidden_dim=8",
    "agent.episodes=2",
]


def words(folder: Path, *more: str) -> list[str]:
    return [*WORDS, f"run.dir={folder}", *more]


def fingerprint(folder: Path) -> list[Any]:
    """Return what a run came to: the model, the agent, the returns."""
    agent = (folder / "agent" / "round_0002" / "agent.safetensors").read_bytes()
    rounds = json.loads((folder / "online.json").read_text())["rounds"]
    returns = [(one["env_steps"], one["returns"], one["collected"]) for one in rounds]
    return [weights(folder), hashlib.sha256(agent).hexdigest(), returns]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("online") / "run"
    assert main(words(folder)) == 0
    return folder


def test_rounds_grow_the_store_the_model_and_the_agent(whole: Path, caplog: pytest.LogCaptureFixture):
    result = json.loads((whole / "online.json").read_text())
    assert result["env"] == "worldjepa/Point-v0" and result["first_policy"] == "random"
    rounds = result["rounds"]
    assert [one["episodes"] for one in rounds] == [3, 6, 10]  # thirds of 10
    assert [one["env_steps"] for one in rounds] == [24, 48, 80]
    assert [one["model_steps"] for one in rounds] == [2, 4, 6]
    assert [one["agent_steps"] for one in rounds] == [3, 6, 9]
    for one in rounds:
        assert len(one["returns"]) == 2 and one["return"] == pytest.approx(sum(one["returns"]) / 2)
        assert one["returns"] != [0.0, 0.0]
    store = EpisodeStore.open(whole / "episodes")
    assert store.seeds == tuple(episode_seed(0, i) for i in range(10))
    first = [float(store.read(i, (), 0, 8).rewards.sum()) for i in range(3)]
    assert result["first_policy_return"] == pytest.approx(sum(first) / 3)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "round" in line]
    assert [(line["step"], line["round"], line["env_steps"]) for line in logged] == [
        (2, 0, 24),
        (4, 1, 48),
        (6, 2, 80),
    ]
    assert {"return", "imagined_return", "entropy", "critic_loss"} <= logged[0].keys()
    assert (whole / "online.png").stat().st_size > 1000
    with caplog.at_level("INFO", logger="worldjepa"):
        assert main(words(whole)) == 0
    assert "is finished: 3 rounds; nothing to do" in caplog.text


def test_later_episodes_are_those_of_the_agent_of_the_round_before(whole: Path):
    """They follow from its weights, its noise and what it saw, no longer from the random policy."""
    store, agent = EpisodeStore.open(whole / "episodes"), load_agent(whole / "agent" / "round_0000")
    assert (store.read(3, (), 0, 8).actions.std(0) > 0).all()
    assert agent.action == store.spec.action
    model = worldjepa.load(whole, device="cpu")
    from gymnasium import spaces

    control = AgentController(model, agent, action_space=spaces.Box(-1, 1, (2,)))
    frames = store.read(0, [0], 0, 1).frames
    action = control.act(frames[0].transpose(1, 2, 0))
    assert action.shape == (2,) and (abs(action) <= 1).all()


@pytest.mark.parametrize("phase", ["collect", "train_model", "train_agent", "judge", "_round"])
def test_a_run_killed_before_a_phase_of_the_second_round_ends_the_same(
    phase: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original, calls = getattr(OnlineRun, phase), []

    def killed(*args: Any) -> Any:
        calls.append(phase)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(OnlineRun, phase, killed)
    assert main(words(tmp_path / "run")) == 130
    monkeypatch.undo()
    assert main(words(tmp_path / "run")) == 0
    assert fingerprint(tmp_path / "run") == fingerprint(whole)


def test_a_run_killed_while_episodes_are_written_ends_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    append, written = EpisodeStore.append, []

    def killed(store: EpisodeStore, episode: Any) -> int:
        written.append(append(store, episode))
        if len(written) == 5:
            raise KeyboardInterrupt
        return written[-1]

    monkeypatch.setattr(EpisodeStore, "append", killed)
    assert main(words(tmp_path / "run")) == 130
    monkeypatch.undo()
    assert len(EpisodeStore.open(tmp_path / "run" / "episodes").lengths) == 5
    assert main(words(tmp_path / "run")) == 0
    assert fingerprint(tmp_path / "run") == fingerprint(whole)


def test_other_settings_in_the_same_folder_are_refused(whole: Path, capsys: pytest.CaptureFixture):
    assert main(words(whole, "agent.horizon=4")) == 2
    assert "agent.horizon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["model.heads=[termination]", "~objective.weights.reward"], "the agent learns from rewards"),
        (["optim.schedule=cosine"], "set optim.schedule=wsd"),
        (["collect.num_episodes=2"], "collect.num_episodes=2: expected 3 or more"),
        (["data.root=/tmp"], "an agent collects its own episodes"),
        (["agent.discount=1.0"], "agent.discount=1.0"),
    ],
)
def test_a_run_that_no_agent_can_learn_in_is_refused_at_once(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert main(words(tmp_path / "run", *more)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_starts_are_latents_that_a_block_follows(whole: Path):
    """Of 10 episodes of 8 steps, blocks of 2: 7 windows of one block each; none begins at an end."""
    import yaml

    from worldjepa.experience import encoded_starts
    from worldjepa.run_episodes import EpisodeData, adopt_episodes
    from worldjepa.settings.schema import from_dict

    store = EpisodeStore.open(whole / "episodes")
    data = EpisodeData(store, list(range(10)), [])
    config = adopt_episodes(from_dict(yaml.safe_load((whole / "config.yaml").read_text())), data)
    model = worldjepa.load(whole, device="cpu")
    starts = encoded_starts(config, data, model)
    assert starts.shape == (70, 1, 8)
    frames = torch.from_numpy(store.read(1, [2], 0, 1).frames.copy())
    torch.testing.assert_close(starts[7 + 2], model.encode(frames[None])[0, 0], atol=1e-5, rtol=1e-5)
