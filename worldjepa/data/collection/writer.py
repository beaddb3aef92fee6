"""Writes episodes down beside the collecting: waiting for the disk costs as much time as simulating."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from worldjepa.data.collection.env_worker import Fault
from worldjepa.data.collection.record import CollectionRecord, Lost
from worldjepa.data.episodes.episode import Episode
from worldjepa.data.episodes.store import EpisodeStore


@dataclass(frozen=True)
class Settled:
    """What became of an episode: in the store (``lost`` None), or lost."""

    outcome: Episode | Fault
    lost: Lost | None


class CollectionWriter:
    """Puts outcomes into store and record in the order given, in one thread. Use it as a context manager.

    Leaving it waits for what is being written; what is still waiting then is dropped. Nothing is written
    after a write that failed.
    """

    def __init__(self, store: EpisodeStore, record: CollectionRecord) -> None:
        self._store, self._record, self._failed = store, record, False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="episodes")
        self._pending: deque[Future[Settled]] = deque()

    def put(self, number: int, seed: int, outcome: Episode | Fault) -> None:
        """Hand over what became of episode ``number``."""
        self._pending.append(self._thread.submit(self._write, number, seed, outcome))

    def settled(self, *, block: bool) -> list[Settled]:
        """Return what has been written since, in order; with ``block``, at least one.

        Raises what the writing raised.
        """
        found = []
        while self._pending and (block or self._pending[0].done()):
            found.append(self._pending.popleft().result())
            block = False
        return found

    def rest(self) -> list[Settled]:
        """Wait for all that was handed over, and return it."""
        found = []
        while self._pending:
            found += self.settled(block=True)
        return found

    def _write(self, number: int, seed: int, outcome: Episode | Fault) -> Settled:
        assert not self._failed, "nothing may follow what was not written"
        self._failed = True  # unless this comes to its end
        lost = None
        if isinstance(outcome, Episode):
            try:
                self._store.append(outcome)
                self._record.count()
            except ValueError as error:  # not of the store's sizes: the environment changed them
                lost = Lost(number, seed, len(outcome.actions), str(error))
        else:
            lost = Lost(number, seed, outcome.step, outcome.reason)
        if lost is not None:
            self._record.lose(lost)
        self._failed = False
        return Settled(outcome, lost)

    def __enter__(self) -> CollectionWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
