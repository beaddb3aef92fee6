"""How many steps with pixels does an environment make in a second, and against the public one?

    python -m benchmarks.env_steps --out benchmarks/results/env_steps

The public one is ``stable_worldmodel.World`` on its TwoRoom (``pip install stable-worldmodel
opencv-python-headless imageio``, best into an environment of its own). ``worldjepa/TwoRooms-v0`` is driven
twice: as a batch (``vector_entry_point``) and as single environments in Gymnasium's ``SyncVectorEnv``. All
get the same actions and begin anew where an episode ends; they run in turn, round after round, and ratios are
taken within a round. First the frames are compared: where they are not the same picture, no figure is printed
and the exit status is 1. On a machine that is busy otherwise, use ``--threads 1 --clock cpu``.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch

import worldjepa  # noqa: F401 (registers the ids)
from benchmarks.machine import describe
from benchmarks.stopwatch import CLOCKS, Stopwatch
from benchmarks.table import divide, quartiles, write_results

ID = "worldjepa/TwoRooms-v0"
PUBLIC, BATCH, SINGLE = "stable-worldmodel World", "worldjepa, batch", "worldjepa, single ones"
NUM_ENVS, SIZE, EPISODE = 8, 64, 100
TABLE_ENVS, TABLE_SIZES = (1, 8, 64, 256), (32, 64, 112, 224)
# levels of 255, mean over a frame: the public one is drawn at 224 px and smoothed more as it is scaled down
TOLERANCE = {"room": 8.0, "dot": 0.5}  # a dot that is elsewhere altogether differs by 3 levels
SURVEY = 2000  # environment steps a measurement of the table
STEPS = {PUBLIC: 25, SINGLE: 100, BATCH: 1000}  # vector steps a round


class Driver(Protocol):
    """A batch of environments with pixels that is stepped on and on."""

    def place(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Begin episodes at ``starts`` (shares of the width); return the frames ``[n y x 3]``."""
        ...

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Make one step; return the frames ``[n y x 3]``."""
        ...


class Ours:
    """``worldjepa/TwoRooms-v0`` with same-step autoreset."""

    def __init__(self, num_envs: int, size: int, mode: str):
        sync = {"autoreset_mode": "SameStep"} if mode == "sync" else None  # the batch's own default
        self.env = gymnasium.make_vec(
            ID,
            num_envs=num_envs,
            vectorization_mode=mode,
            image_size=size,
            max_episode_steps=EPISODE,
            vector_kwargs=sync,
        )
        self.env.reset(seed=0)

    def place(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Begin episodes at ``starts``."""
        if isinstance(self.env, gymnasium.vector.SyncVectorEnv):
            pairs = zip(self.env.envs, starts, goals, strict=True)
            return np.stack([env.reset(options={"state": a, "goal": b})[0] for env, a, b in pairs])
        return self.env.reset(options={"state": starts, "goal": goals})[0]

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Make one step."""
        return self.env.step(actions)[0]


class Public:
    """``stable_worldmodel.World`` on its TwoRoom, each environment reset when its episode ends."""

    def __init__(self, num_envs: int, size: int):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of environments that are not installed
            from stable_worldmodel import World  # pyright: ignore[reportMissingImports]
        self.pool = World(
            "swm/TwoRoom-v1", num_envs=num_envs, image_shape=(size, size), max_episode_steps=EPISODE
        ).envs
        self.pool.reset(seed=0)

    def place(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Begin episodes at ``starts``."""
        pairs = zip(224 * starts, 224 * goals, strict=True)
        options = [{"state": a, "target_state": b} for a, b in pairs]
        return self.pool.reset(options=options)[1]["pixels"][:, 0]

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Make one step."""
        _, _, terminated, truncated, infos = self.pool.step(actions)
        ended = terminated | truncated
        if ended.any():
            _, infos = self.pool.reset(mask=ended)
        return infos["pixels"][:, 0]


def make_drivers(num_envs: int, size: int) -> dict[str, Driver]:
    """Return the drivers to compare."""
    return {
        PUBLIC: Public(num_envs, size),
        SINGLE: Ours(num_envs, size, "sync"),
        BATCH: Ours(num_envs, size, "vector_entry_point"),
    }


def draw_actions(num_envs: int, steps: int) -> np.ndarray:
    """Return uniform actions ``[steps n 2]``."""
    return np.random.default_rng(0).uniform(-1, 1, (steps, num_envs, 2)).astype(np.float32)


def disagreement(drivers: dict[str, Driver]) -> str | None:
    """Return how pictures differ from the public ones after the same steps, if they do."""
    rng = np.random.default_rng(1)
    starts = rng.uniform([0.1, 0.1], [0.4, 0.9], (NUM_ENVS, 2))
    goals = np.full((NUM_ENVS, 2), 0.85)
    frames = {name: [driver.place(starts, goals).copy()] for name, driver in drivers.items()}
    for actions in draw_actions(NUM_ENVS, 20):
        for name, driver in drivers.items():
            frames[name].append(driver.step(actions).copy())
    public = np.stack(frames[PUBLIC])
    for name in (SINGLE, BATCH):
        ours = np.stack(frames[name])
        if ours.shape != public.shape or ours.dtype != public.dtype:
            return f"{name} gives {ours.dtype} {ours.shape}, the public one {public.dtype} {public.shape}"
        for part, view in (("room", lambda x: x[..., :1]), ("dot", lambda x: x[..., :1] - x[..., 1:2])):
            away = np.abs(view(ours.astype(float)) - view(public.astype(float))).mean(axis=(2, 3, 4)).max()
            if away > TOLERANCE[part]:
                return f"{name}: the {part} of a frame differs by {away:.2f} levels from the public one"
    return None


def compare(drivers: dict[str, Driver], *, rounds: int, clock: str) -> dict[str, list[float]]:
    """Run the drivers in turn; return the environment steps a second of every round."""
    speeds: dict[str, list[float]] = {name: [] for name in drivers}
    for index in range(rounds + 1):  # the first warms up
        order = list(drivers)[index % 3 :] + list(drivers)[: index % 3]
        for name in order:
            speed = measure(drivers[name], NUM_ENVS, STEPS[name], clock)
            if index:
                speeds[name].append(speed)
    return speeds


def measure(driver: Driver, num_envs: int, steps: int, clock: str) -> float:
    """Return environment steps a second."""
    actions, watch = draw_actions(num_envs, steps), Stopwatch(clock)
    with watch.part("steps"):
        for each in actions:
            driver.step(each)
    return num_envs * steps / watch.seconds["steps"]


def survey(sizes: Sequence[int], counts: Sequence[int], *, rounds: int, clock: str) -> dict[str, Any]:
    """Return the steps a second of the batch, as quartiles, by image size and number of environments."""
    rows: dict[str, Any] = {}
    for size in sizes:
        rows[str(size)] = {}
        for count in counts:
            driver, steps = Ours(count, size, "vector_entry_point"), max(10, SURVEY // count)
            speeds = [measure(driver, count, steps, clock) for _ in range(rounds + 1)][1:]
            rows[str(size)][str(count)] = quartiles(speeds)
    return rows


def markdown(circumstances: dict[str, str], speeds: dict[str, list[float]], rows: dict[str, Any]) -> str:
    """Return the report."""
    named = "\n".join(f"- {key}: {value}" for key, value in circumstances.items())
    lines = [
        "# Environment steps with pixels, ours and the public one",
        "",
        f"TwoRooms, {NUM_ENVS} environments, frames of {SIZE} px, random actions, episodes of at most",
        f"{EPISODE} steps, beginning anew where one ends. All run in turn on the same actions, after a",
        "check that they show the same pictures. Steps are those of single environments. Medians over",
        "rounds; ratios are taken within a round and given as median (lower-upper quartile).",
        "",
        named,
        "",
        f"| | steps/s | times {PUBLIC} |",
        "|---|---|---|",
    ]
    for name, values in speeds.items():
        low, middle, high = quartiles(divide(values, speeds[PUBLIC]))
        lines.append(f"| {name} | {quartiles(values)[1]:,.0f} | {middle:.1f} ({low:.1f}-{high:.1f}) |")
    counts = list(next(iter(rows.values())))
    lines += ["", "The batch, by image size and number of environments, in steps/s:", ""]
    lines += ["| size | " + " | ".join(counts) + " |", "|---" * (len(counts) + 1) + "|"]
    for size, row in rows.items():
        cells = " | ".join(f"{row[count][1]:,.0f}" for count in counts)
        lines.append(f"| {size} px | {cells} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure; write the tables if all show the same pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a shared machine")
    parser.add_argument("--out", help="write <out>.md and <out>.json, such as benchmarks/results/env_steps")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)  # the public environment draws with torch
    drivers = make_drivers(NUM_ENVS, SIZE)
    wrong = disagreement(drivers)
    if wrong:
        print(f"no figures: {wrong}", file=sys.stderr)
        return 1
    speeds = compare(drivers, rounds=options.rounds, clock=options.clock)
    rows = survey(TABLE_SIZES, TABLE_ENVS, rounds=min(5, options.rounds), clock=options.clock)
    command = "python -m benchmarks.env_steps " + " ".join(sys.argv[1:] if argv is None else argv)
    circumstances = describe(command, options.threads, options.clock) | {"rounds": str(options.rounds)}
    names = ("gymnasium", "numpy", "torch", "stable-worldmodel")
    circumstances["versions"] = ", ".join(f"{name} {version(name)}" for name in names)
    text = markdown(circumstances, speeds, rows)
    print(text)
    if options.out:
        ratios = {name: quartiles(divide(values, speeds[PUBLIC])) for name, values in speeds.items()}
        cases = {"comparison": {"steps_per_second": speeds, "times_public": ratios}, "survey": rows}
        write_results(circumstances, cases, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
