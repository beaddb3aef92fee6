"""How many windows of episodes are read in a second, and against the Lance table of stable-worldmodel?

    python -m benchmarks.episode_loader 64 224 --out benchmarks/results/episode_loader

Each case is an image size, or ``<size>:noise`` for frames with a moving pattern and noise, which hardly
compress. The same episodes are written to our store and, by stable-worldmodel's own writer, to a Lance table
(``pip install stable-worldmodel opencv-python-headless imageio``, best into an environment of its own). Both
give batches of random windows: six latent steps with an action block of five. Theirs come from the
``DataLoader`` that its training scripts build over ``LanceDataset``. First the contents of some windows are
compared; where they differ by more than JPEG does, no figure is printed and the exit status is 1. The loaders
run in turn, round after round, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch.utils.data import DataLoader

import worldjepa  # noqa: F401 (registers the ids)
from benchmarks.machine import describe
from benchmarks.stopwatch import CLOCKS, Stopwatch
from benchmarks.table import divide, quartiles, write_results
from worldjepa.data.episodes.action_spec import action_spec
from worldjepa.data.episodes.store import Episode, EpisodeSpec, EpisodeStore
from worldjepa.data.episodes.windows import WindowSampling, window_loader

ID = "worldjepa/TwoRooms-v0"
PUBLIC, OURS = "stable-worldmodel Lance", "worldjepa"
STEPS, SAMPLING, BATCH = 100, WindowSampling(num_frames=6, action_block=5), 32
EPISODES = {64: 200, 224: 60}  # by image size; all fit into the page cache
BATCHES = {PUBLIC: 10, OURS: 100}  # a round
WORKERS = (0, 1)
QUEUED = 3  # batches that a worker holds ready: taken out before the clock starts
TOLERANCE = 12.0  # levels of 255, mean over a window: what JPEG does to noise; another frame differs by more

Next = Callable[[], Any]


@dataclass
class Case:
    """What is in the frames."""

    size: int
    noise: bool = False

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``size`` or ``size:noise``."""
        size, _, kind = text.partition(":")
        if not size.isdigit() or kind not in ("", "noise"):
            raise argparse.ArgumentTypeError(f"a case is a size such as 64, or 64:noise, got {text!r}")
        return cls(int(size), bool(kind))

    def title(self) -> str:
        """Return the case in words."""
        return f"{self.size} px{', with pattern and noise' if self.noise else ''}"


def record(case: Case) -> Iterator[Episode]:
    """Play random actions; yield the episodes."""
    env = gymnasium.make(ID, image_size=case.size, distractors=case.noise, max_episode_steps=None)
    rng = np.random.default_rng(0)
    for seed in range(EPISODES.get(case.size, 60)):
        actions = rng.uniform(-1, 1, (STEPS, 2)).astype(np.float32)
        frames = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]
        rewards = np.arange(STEPS, dtype=np.float32)
        yield Episode(np.stack(frames), actions, rewards, terminated=False, truncated=True, seed=seed)


def write_ours(episodes: list[Episode], case: Case, root: Path) -> EpisodeStore:
    """Write our store."""
    spec = EpisodeSpec(ID, action_spec(gymnasium.spaces.Box(-1, 1, (2,))), (case.size, case.size))
    store = EpisodeStore.create(root, spec)
    for episode in episodes:
        store.append(episode)
    return EpisodeStore.open(root)


def write_public(episodes: list[Episode], root: Path) -> Any:
    """Write the Lance table; return its dataset. The last row's action is a zero that nobody reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of environments that are not installed
        from stable_worldmodel.data.formats.lance import (  # pyright: ignore[reportMissingImports]
            LanceDataset,
            LanceWriter,
        )
    with LanceWriter(root / "table.lance") as writer:
        writer.write_episodes(
            {
                "pixels": list(one.frames),
                "action": [*one.actions, np.zeros(2, np.float32)],
                "reward": [*one.rewards[:, None], np.zeros(1, np.float32)],
            }
            for one in episodes
        )
    return LanceDataset(root / "table.lance", frameskip=SAMPLING.action_block, num_steps=SAMPLING.num_steps)


def disagreement(store: EpisodeStore, public: Any) -> str | None:
    """Return how the contents of windows differ, if they do."""
    for number in range(0, len(public), max(1, len(public) // 50)):
        episode, start = public.clip_indices[number]
        theirs = public.__getitems__([number])[0]
        ours = store.read(episode, SAMPLING.frame_ids(start), start, start + SAMPLING.span)
        actions = ours.actions.reshape(SAMPLING.num_steps - 1, -1)
        if not np.array_equal(theirs["action"][:-1].numpy(), actions):
            return f"the actions of episode {episode} at {start} are not the same"
        away = np.abs(theirs["pixels"].numpy().astype(float) - ours.frames).mean()
        if away > TOLERANCE:
            return f"the frames of episode {episode} at {start} differ by {away:.1f} levels"
    return None


def public_batches(dataset: Any, workers: int) -> Iterator[Any]:
    """Yield batches epoch after epoch, from the loader as stable-worldmodel's training scripts build it."""
    loader = DataLoader(
        dataset, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    while True:
        yield from loader


def compare(
    store: EpisodeStore, public: Any, *, workers: int, rounds: int, clock: str
) -> dict[str, list[float]]:
    """Run the loaders in turn; return the windows a second of every round."""
    last = (rounds + 1) * (BATCHES[OURS] + QUEUED)
    side = store.spec.frame_size[0]
    ids = range(len(store.lengths))
    speeds: dict[str, list[float]] = {PUBLIC: [], OURS: []}
    with window_loader(
        store,
        ids,
        sampling=SAMPLING,
        size=side,
        batch_size=BATCH,
        seed=0,
        last_step=last,
        num_workers=workers,
    ) as ours:
        following: dict[str, Next] = {
            PUBLIC: public_batches(public, workers).__next__,
            OURS: ours.__next__,
        }
        for index in range(rounds + 1):  # the first warms up
            for name in sorted(following, reverse=bool(index % 2)):
                speed = measure(following[name], BATCHES[name], clock)
                if index:
                    speeds[name].append(speed)
    return speeds


def measure(following: Next, batches: int, clock: str) -> float:
    """Return windows a second."""
    for _ in range(QUEUED):
        following()
    watch = Stopwatch(clock)
    with watch.part("read"):
        for _ in range(batches):
            following()
    return BATCH * batches / watch.seconds["read"]


def megabytes(folder: Path) -> float:
    """Return the size of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def run(case: Case, *, rounds: int, clock: str) -> dict[str, Any] | str:
    """Measure a case; return its figures, or how the loaders' windows differ."""
    with tempfile.TemporaryDirectory() as folder:
        episodes = list(record(case))
        raw = sum(np.asarray(one.frames).nbytes for one in episodes) / 1e6
        store = write_ours(episodes, case, Path(folder) / "ours")
        public = write_public(episodes, Path(folder) / "public")
        wrong = disagreement(store, public)
        if wrong:
            return wrong
        sizes = {OURS: megabytes(Path(folder) / "ours"), PUBLIC: megabytes(Path(folder) / "public")}
        speeds = {
            str(workers): compare(store, public, workers=workers, rounds=rounds, clock=clock)
            for workers in WORKERS
        }
        return {"windows_per_second": speeds, "megabytes": sizes | {"frames as they are": raw}}


def markdown(cases: dict[str, dict[str, Any]], circumstances: dict[str, str]) -> str:
    """Return the report."""
    lines = [
        "# Windows of episodes, ours and those of a Lance table",
        "",
        f"Random windows of {SAMPLING.num_steps} latent steps with an action block of",
        f"{SAMPLING.action_block} in batches of {BATCH}: frames, actions and rewards of TwoRooms episodes",
        f"of {STEPS} steps, which lie in the page cache. Both loaders run in turn, after a check that",
        "their windows are the same (theirs but for JPEG). Medians over rounds; ratios are taken within a",
        "round, as median (lower-upper quartile). With a worker, handing frames to the main process is most",
        "of our time.",
        "",
        *(f"- {key}: {value}" for key, value in circumstances.items()),
        "",
        f"| frames | workers | {PUBLIC}, windows/s | {OURS}, windows/s | times as many "
        "| MB: theirs, ours (raw) |",
        "|---|---|---|---|---|---|",
    ]
    for title, case in cases.items():
        sizes = case["megabytes"]
        disk = f"{sizes[PUBLIC]:.0f}, {sizes[OURS]:.0f} ({sizes['frames as they are']:.0f})"
        for workers, speeds in case["windows_per_second"].items():
            low, middle, high = case["times_public"][workers]
            theirs, ours = (f"{quartiles(speeds[name])[1]:,.0f}" for name in (PUBLIC, OURS))
            lines.append(
                f"| {title} | {workers} | {theirs} | {ours} | {middle:.1f} ({low:.1f}-{high:.1f}) | {disk} |"
            )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Measure every case; write the table if all windows are the same."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", type=Case.parse, metavar="size[:noise]")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: leaves out what workers do")
    parser.add_argument("--out", help="write <out>.md and <out>.json")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    cases: dict[str, dict[str, Any]] = {}
    for case in options.cases:
        found = run(case, rounds=options.rounds, clock=options.clock)
        if isinstance(found, str):
            print(f"no figures: {case.title()}: {found}", file=sys.stderr)
            return 1
        speeds = found["windows_per_second"]
        found["times_public"] = {k: quartiles(divide(v[OURS], v[PUBLIC])) for k, v in speeds.items()}
        cases[case.title()] = found
    command = "python -m benchmarks.episode_loader " + " ".join(sys.argv[1:] if argv is None else argv)
    circumstances = describe(command, options.threads, options.clock) | {"rounds": str(options.rounds)}
    names = ("torch", "numpy", "pyarrow", "lancedb", "pylance", "stable-worldmodel")
    circumstances["versions"] = ", ".join(f"{name} {version(name)}" for name in names)
    text = markdown(cases, circumstances)
    print(text)
    if options.out:
        write_results(circumstances, cases, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
