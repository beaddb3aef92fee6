"""Episodes of any Gymnasium environment into a store; a fault of the environment loses one episode.

Episode ``n`` of a collection is begun with a seed that follows from the collection's seed and ``n`` alone.
The store holds the whole ones in the order of ``n``, ``lost_episodes.jsonl`` the others, so that the two
together say where to go on: the same store comes out however many environments run side by side and however
often the collection is interrupted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from worldjepa.data.collection.env_batch import BatchError, EnvBatch
from worldjepa.data.collection.env_pool import EnvPool
from worldjepa.data.collection.env_worker import Fault, Task
from worldjepa.data.collection.moments import EnvFacts
from worldjepa.data.collection.progress import CollectionProgress
from worldjepa.data.collection.record import CollectionRecord, Lost, episode_seed
from worldjepa.data.collection.writer import CollectionWriter, Settled
from worldjepa.data.episodes.episode import Episode, EpisodeSpec
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.runlock import RunLock
from worldjepa.seeding import derive_seed
from worldjepa.settings.env import CollectConfig, CollectedConfig, CollectionConfig, EnvConfig

logger = logging.getLogger(__name__)

MAX_LOST = 10  # in a row, without a whole episode between them
AHEAD = 3  # episodes a process may be ahead of the oldest that is not finished


class CollectionError(RuntimeError):
    """The environment fails again and again."""


@dataclass(frozen=True)
class CollectionResult:
    """What a collection holds now, and what this call added: ``written`` episodes and ``lost`` ones.

    ``steps``, ``mean_return`` and ``success_share`` (None where the environment says nothing of success) are
    of the episodes written. ``finished``: all that were asked for are there.
    """

    root: Path
    total: int
    written: int
    steps: int
    lost: tuple[Lost, ...]
    mean_return: float | None
    success_share: float | None
    finished: bool

    def line(self) -> str:
        """Return it in words."""
        if self.finished and not self.written:
            return f"{self.root} holds {self.total} episodes already; nothing to do"
        said = [f"{self.written} episodes of {self.steps} steps in all", f"{len(self.lost)} lost"]
        if self.mean_return is not None:
            said.append(f"mean return {self.mean_return:.3g}")
        if self.success_share is not None:
            said.append(f"success {self.success_share:.0%}")
        held = f"{self.root} holds {self.total}"
        end = "" if self.finished else "; stopped early: run it again to go on"
        return f"collected {', '.join(said)}; {held}{end}"


@runtime_checkable
class Source(Protocol):
    """What plays episodes: ``EnvPool`` or ``EnvBatch``."""

    @property
    def free(self) -> int:
        """How many more episodes can be started now."""
        ...

    def start(self, task: Task) -> None:
        """Begin an episode."""
        ...

    def wait(self) -> list[tuple[Task, Episode | Fault]]:
        """Return those that have come to an end."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


def collect_episodes(
    env: EnvConfig,
    collection: CollectionConfig,
    *,
    root: Path | str,
    size: int,
    seed: int,
    progress: bool = True,
    stop: Callable[[], object] = lambda: False,
) -> CollectionResult:
    """Fill the store in ``root`` up to ``collection.num_episodes`` episodes of frames ``size`` x ``size``.

    Calling it again goes on where it stopped. ``stop`` is asked several times a second (a signal came): once
    it is true, whole episodes stay and the rest is dropped; an exception leaves the same. ``progress`` is
    shown on the terminal or as plain lines.

    Raises:
        ValueError: the environment, policy or folder cannot be used; other settings than the store's.
        CollectionError: ``MAX_LOST`` episodes in a row were lost.
    """
    root = Path(root)
    settings = CollectConfig(
        seed=seed,
        policy=collection.policy,
        num_episodes=collection.num_episodes,
        env=env,
        data=CollectedConfig(root=str(root), size=size),
    )
    with RunLock(root, setting="data.root"):
        record = CollectionRecord.open(root, settings)
        with CollectionProgress(collection.num_episodes, shown=progress) as shown:
            return _Collector(settings, record, shown, stop).run()


def describe_env(env: EnvConfig, *, policy: str = "random") -> EnvFacts:
    """Return the action space, the width of proprioception and so on, for whoever builds a model before data.

    The environment is reset once, in a process of its own. Raises ``ValueError`` where it cannot be used.
    """
    with EnvPool(replace(env, num_envs=1), policy=policy, size=8) as pool:
        facts = pool.describe()
    assert facts is not None, "nobody asked it to stop"
    return facts


class _Collector:
    """One call: plays what is missing, hands it on in order, counts what was written."""

    def __init__(
        self,
        settings: CollectConfig,
        record: CollectionRecord,
        progress: CollectionProgress,
        stop: Callable[[], object],
    ) -> None:
        self.settings, self.record, self.progress, self.stop = settings, record, progress, stop
        self.lost: list[Lost] = []
        self.lost_in_a_row = self.steps = 0
        self.returns: list[float] = []
        self.successes: list[bool] = []

    def run(self) -> CollectionResult:
        """Collect until there is enough, or until asked to stop."""
        settings, size = self.settings, self.settings.data.size
        if self.record.total < settings.num_episodes:
            with EnvPool(settings.env, policy=settings.policy, size=size) as pool:
                facts = pool.describe(self.stop)
                if facts is None:
                    return self._result()
                store = self.record.store(_spec(settings, facts))
                self.progress.begin(self.record.total)
                if not facts.batched or not self._through_batch(facts, pool, store):
                    self._through(pool, store)
        return self._result()

    def _through_batch(self, facts: EnvFacts, pool: EnvPool, store: EpisodeStore) -> bool:
        """Collect with a vector environment in this process; return False if it broke."""
        settings = self.settings
        pool.close()
        try:
            with EnvBatch(settings.env, facts, policy=settings.policy, size=settings.data.size) as batch:
                self._through(batch, store)
        except BatchError as error:
            text = "the vector environment of %s failed (%s); going on with single ones in processes"
            logger.warning(text, settings.env.id, error)
            logger.debug("where the batch failed", exc_info=error)
            return False
        return True

    def _through(self, source: Source, store: EpisodeStore) -> None:
        """Play with ``source`` until there is enough; what was played whole before it broke is kept."""
        with CollectionWriter(store, self.record) as writer:
            try:
                self._play(source, writer)
            except BatchError:
                self._count(writer.rest())
                raise
            self._count(writer.rest())

    def _play(self, source: Source, writer: CollectionWriter) -> None:
        """Start episodes as places come free; hand on those that end, in the order of their numbers."""
        record, goal, seed = self.record, self.settings.num_episodes, self.settings.seed
        most = AHEAD * self.settings.env.num_envs
        issued = handed = record.next_number
        arrived: dict[int, Episode | Fault] = {}
        while record.total < goal and not self.stop():
            while source.free and issued - len(record.lost) < goal and issued - record.next_number < most:
                source.start(task_of(seed, issued))
                issued += 1
            playing = issued - handed > len(arrived)
            if playing:
                arrived |= {task.number: outcome for task, outcome in source.wait()}
            while handed in arrived:
                writer.put(handed, episode_seed(seed, handed), arrived.pop(handed))
                handed += 1
            self._count(writer.settled(block=not playing))

    def _count(self, settled: list[Settled]) -> None:
        for outcome, lost in ((each.outcome, each.lost) for each in settled):
            if lost is None:
                assert isinstance(outcome, Episode)
                self.lost_in_a_row = 0
                self.steps += len(outcome.actions)
                self.returns.append(math.fsum(outcome.rewards))
                self.successes += [] if outcome.success is None else [outcome.success]
                continue
            self.lost.append(lost)
            self.lost_in_a_row += 1
            if self.lost_in_a_row == MAX_LOST:
                raise CollectionError(
                    f"env.id={self.settings.env.id}: {MAX_LOST} episodes in a row were lost, the last one at "
                    f"step {lost.step} ({lost.reason}); all are listed in {self.record.lost_file}"
                )
        self.progress.update(self.record.total, self.steps, len(self.lost))

    def _result(self) -> CollectionResult:
        count = len(self.returns)
        return CollectionResult(
            root=self.record.root,
            total=self.record.total,
            written=count,
            steps=self.steps,
            lost=tuple(self.lost),
            mean_return=math.fsum(self.returns) / count if count else None,
            success_share=sum(self.successes) / len(self.successes) if self.successes else None,
            finished=self.record.total >= self.settings.num_episodes,
        )


def task_of(seed: int, number: int) -> Task:
    """Return episode ``number`` of a collection."""
    return Task(number, episode_seed(seed, number), derive_seed(seed, number, 1))


def _spec(settings: CollectConfig, facts: EnvFacts) -> EpisodeSpec:
    return EpisodeSpec(
        env_id=settings.env.id or "",
        env_kwargs=dict(settings.env.kwargs),
        action=facts.action,
        frame_size=(settings.data.size, settings.data.size),
        cameras=facts.cameras,
        proprioception_dim=facts.proprioception_dim,
        state_names=facts.state_names,
        fps=facts.fps,
    )
