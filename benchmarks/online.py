"""How much does an agent earn that learns in imagination, beside random actions and model-free PPO?

    python -m worldjepa.train +experiment=online run.dir=runs/online
    python -m benchmarks.online --run runs/online --out benchmarks/results/online
    python -m worldjepa.train +experiment=pendulum run.dir=runs/pendulum
    python -m benchmarks.online --run runs/pendulum --out benchmarks/results/online_pendulum

The run is taken as it stands. PPO (Stable-Baselines3, ``CnnPolicy``; the extra ``worldjepa[sb3]``) learns
from the same frames, the last four stacked, with as many environment steps in each round, and is judged by
the same episodes, without noise; so are uniformly random actions. PPO's settings are its defaults, but for
the discount, which is the agent's, and the rollout, which is a round's steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import yaml

from benchmarks.machine import describe
from benchmarks.table import write_results
from worldjepa.agents.playing import Act, Begin, play_episodes
from worldjepa.config import TrainConfig
from worldjepa.data.collection.env_making import make_env
from worldjepa.data.collection.recording import Recorder
from worldjepa.learning_curve import curve_picture
from worldjepa.online import judge_seeds
from worldjepa.online_record import OnlineRecord, Round
from worldjepa.pictures import save_png
from worldjepa.seeding import derive_seed
from worldjepa.settings.env import EnvConfig
from worldjepa.settings.schema import from_dict

STACK = 4  # frames that PPO sees
AGENT, PPO, RANDOM = "agent (imagination)", "PPO (model-free)", "random actions"


@dataclass(frozen=True)
class Judged:
    """Returns of the judging episodes after so many environment steps, and processor seconds so far."""

    env_steps: int
    returns: list[float]
    cpu_seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Mean return."""
        return statistics.fmean(self.returns)


class Pixels(gymnasium.Env):
    """An environment whose observation is the frame that a collection would record."""

    def __init__(self, config: EnvConfig, size: int):
        self._env = make_env(config)
        self._recorder = Recorder(config, size, self._env.observation_space, self._env.render)
        self.action_space = self._env.action_space
        self.observation_space = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self._env.reset(seed=seed, options=options)
        return self._frame(observation, info), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Make a step."""
        observation, reward, terminated, truncated, info = self._env.step(action)
        return self._frame(observation, info), float(reward), bool(terminated), bool(truncated), info

    def _frame(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        return self._recorder.take(observation, info).frames[self._recorder.cameras[0]]


def random_beginner(seed: int, rows: int) -> Begin:
    """Return who acts at random in ``rows`` environments."""

    def begin(space: gymnasium.Space) -> Act:
        generator = np.random.default_rng(seed)
        space.seed(int(generator.integers(2**31)))
        return lambda frames: np.stack([space.sample() for _ in range(rows)])

    return begin


def stacked_beginner(model: Any) -> Begin:
    """Return who acts as PPO's policy does on the last frames, zeros before the first, as in its training."""

    def begin(space: gymnasium.Space) -> Act:
        seen: deque[np.ndarray] = deque(maxlen=STACK)

        def act(frames: np.ndarray) -> np.ndarray:
            seen.extend([np.zeros_like(frames)] * (STACK - 1) if not seen else [])
            seen.append(frames)
            return model.predict(np.concatenate(seen, axis=-1), deterministic=True)[0]

        return act

    return begin


class Contest:
    """One environment, with the episodes that all are judged by."""

    def __init__(self, config: TrainConfig):
        self.config, self.size = config, config.data.size or 64
        self.seeds = judge_seeds(config.seed, config.agent.episodes)

    def judge(self, begin: Begin) -> list[float]:
        """Return what somebody earns."""
        played = play_episodes(self.config.env, begin, seeds=self.seeds, size=self.size)
        assert played is not None
        return [float(episode.rewards.sum()) for episode in played]

    def ppo(self, steps: Sequence[int], num_envs: int) -> list[Judged]:
        """Train PPO, judged each time that it has made so many environment steps."""
        from stable_baselines3 import PPO as Learner
        from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

        env = self.config.env
        made = DummyVecEnv([lambda: Pixels(env, self.size)] * num_envs)
        rollout = steps[0] // num_envs
        learner = Learner(
            "CnnPolicy",
            VecFrameStack(made, STACK, channels_order="last"),
            n_steps=rollout,
            gamma=self.config.agent.discount ** (1 / self.config.model.action_block),
            seed=self.config.seed,
            device="cpu",
        )
        found, began = [], time.process_time()
        for goal in steps:
            learner.learn(goal - learner.num_timesteps, reset_num_timesteps=False)
            returns = self.judge(stacked_beginner(learner))
            found.append(Judged(learner.num_timesteps, returns, round(time.process_time() - began, 1)))
            say(PPO, found[-1])
        return found


def say(name: str, judged: Judged) -> None:
    """Print a line."""
    sys.stdout.write(f"{name}: {judged.env_steps} steps, return {judged.mean:.1f}\n")
    sys.stdout.flush()


def of_run(rounds: Sequence[Round]) -> list[Judged]:
    """Return the run's rounds, with processor time added up."""
    spent = np.cumsum([one.cpu_seconds for one in rounds])
    return [
        Judged(one.env_steps, one.returns, round(float(seconds), 1))
        for one, seconds in zip(rounds, spent, strict=True)
    ]


def text(
    circumstances: dict[str, str], found: dict[str, list[Judged]], config: TrainConfig, picture: str
) -> str:
    """Return the table; ``picture`` is the file name of the curves."""
    agent, ppo = found[AGENT], found[PPO]
    lines = [
        "# An agent that learns in imagination, model-free PPO and random actions",
        "",
        f"{config.env.id} from {config.data.size} px frames, one seed of training. Return: mean and standard",
        f"deviation over {config.agent.episodes} episodes, the same for all and after every round, played",
        "without noise and not learnt from. CPU s: processor time up to there, judging included.",
        "",
        *(f"- {name}: {value}" for name, value in circumstances.items()),
        "",
        f"| environment steps | {AGENT} | CPU s | {PPO} | CPU s | {RANDOM} |",
        "|---|---|---|---|---|---|",
    ]
    for ours, theirs in zip(agent, ppo, strict=True):
        cells = [f"{ours.env_steps:,}", _shown(ours), f"{ours.cpu_seconds:.0f}"]
        cells += [_shown(theirs), f"{theirs.cpu_seconds:.0f}", _shown(found[RANDOM][0])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"![learning curves]({picture})", ""])


def _shown(judged: Judged) -> str:
    spread = statistics.stdev(judged.returns) if len(judged.returns) > 1 else 0.0
    return f"{judged.mean:.1f} +- {spread:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of an online run")
    parser.add_argument("--out", help="write OUT.md, OUT.json and OUT.png")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--num-envs", type=int, default=10, help="environments of PPO, side by side")
    words = parser.parse_args(argv)
    torch.set_num_threads(words.threads)
    config = from_dict(yaml.safe_load((Path(words.run) / "config.yaml").read_text(encoding="utf-8")))
    contest = Contest(config)
    found = {AGENT: of_run(OnlineRecord(Path(words.run), {}).rounds)}
    rows = len(contest.seeds)
    found[RANDOM] = [Judged(0, contest.judge(random_beginner(derive_seed(config.seed, 1), rows)))]
    say(RANDOM, found[RANDOM][0])
    found[PPO] = contest.ppo([one.env_steps for one in found[AGENT]], words.num_envs)
    command = f"python -m benchmarks.online --run {words.run} --threads {words.threads}"
    about = describe(command, words.threads, "cpu")
    about["versions"] += f", stable-baselines3 {version('stable-baselines3')}"
    about["run"] = f"python -m worldjepa.train +experiment={config.experiment} (seed {config.seed})"
    table = text(about, found, config, f"{Path(words.out or 'online').name}.png")
    sys.stdout.write(table)
    if words.out:
        cases = {name: {"points": [asdict(one) for one in line]} for name, line in found.items()}
        write_results(about, cases, table, words.out)
        curves = {name: [(one.env_steps, one.mean) for one in line] for name, line in found.items()}
        save_png(curve_picture(curves, title=f"return on {config.env.id}"), f"{words.out}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
