"""What a collection was asked for and how far it is, in files beside its episodes.

``collection.json`` holds the settings; ``lost_episodes.jsonl`` one lost episode a line: number, seed, the
step at which it was lost (0: before the first), and why.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from worldjepa.artifact import write_file
from worldjepa.data.episodes.episode import EpisodeSpec
from worldjepa.data.episodes.store import STORE, EpisodeStore
from worldjepa.seeding import derive_seed
from worldjepa.settings.env import CollectConfig
from worldjepa.settings.schema import ConfigError, changed_settings, from_dict, to_dict

SETTINGS, LOST = "collection.json", "lost_episodes.jsonl"
_NOT_OTHERS = {"lock", SETTINGS, LOST}


@dataclass(frozen=True)
class Lost:
    """An episode that was begun and is not in the store."""

    number: int
    seed: int
    step: int
    reason: str


class CollectionRecord:
    """Episodes before ``next_number`` are settled: ``total`` of them in the store, the others in ``lost``."""

    def __init__(self, root: Path, store: EpisodeStore | None, lost: list[Lost]) -> None:
        self.root, self.lost = root, lost
        self.lost_file = root / LOST
        self._store = store
        self.total = 0 if store is None else len(store.lengths)

    @property
    def next_number(self) -> int:
        """The oldest episode that is not settled."""
        return self.total + len(self.lost)

    @classmethod
    def open(cls, root: Path, settings: CollectConfig) -> CollectionRecord:
        """Begin a collection in an empty folder, or go on with the one that is there.

        Raises ``ConfigError`` for a folder with something else in it, or a collection with other settings.
        """
        if (root / SETTINGS).exists():
            _check_same(root, settings)
        else:
            others = [entry.name for entry in root.iterdir() if entry.name not in _NOT_OTHERS]
            if others:
                shown = ", ".join(sorted(others)[:3])
                raise ConfigError(f"data.root={root} holds other things ({shown}); choose an empty folder")
            write_file(root / SETTINGS, json.dumps(to_dict(settings), indent=2) + "\n")
        store = EpisodeStore.open(root) if (root / STORE).exists() else None
        record = cls(root, store, _read_lost(root / LOST))
        record._check_whole(settings.seed)
        return record

    def _check_whole(self, seed: int) -> None:
        """Raise ``ConfigError`` unless the last episode in the store is the one it should be."""
        gone = {lost.number for lost in self.lost}
        kept = [number for number in range(self.next_number) if number not in gone]
        last = self._store.seeds[-1] if self._store is not None and self.total else None
        if len(kept) != self.total or (last is not None and last != episode_seed(seed, kept[-1])):
            raise ConfigError(
                f"data.root={self.root}: the {self.total} episodes there and the {len(gone)} in {LOST} are "
                "not what was collected; something was removed or added. Choose another data.root="
            )

    def store(self, spec: EpisodeSpec) -> EpisodeStore:
        """Return the store, made if need be; raises ``ConfigError`` if its episodes are of another kind."""
        if self._store is None:
            self._store = EpisodeStore.create(self.root, spec)
        before, now = self._store.spec.to_dict(), spec.to_dict()
        changed = [name for name in now if before[name] != now[name]]
        if changed:
            raise ConfigError(
                f"data.root={self.root}: the environment is not what it was: {', '.join(changed)} differ "
                f"({before[changed[0]]}, now {now[changed[0]]}); choose another data.root="
            )
        return self._store

    def count(self) -> None:
        """Take note of an episode that the store holds now."""
        self.total += 1

    def lose(self, lost: Lost) -> None:
        """Write down a lost episode; it is on the disk when this returns."""
        with self.lost_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(lost)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lost.append(lost)


def episode_seed(seed: int, number: int) -> int:
    """Return what episode ``number`` is reset with: 31 bits, as some simulators want it."""
    return derive_seed(seed, number) % 2**31


def _check_same(root: Path, settings: CollectConfig) -> None:
    try:
        before = from_dict(json.loads((root / SETTINGS).read_text(encoding="utf-8")), CollectConfig)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"data.root={root}: {SETTINGS} cannot be read ({error}); choose another folder"
        ) from error
    changed = changed_settings(before, settings)
    if changed:
        raise ConfigError(
            f"data.root={root} holds episodes collected with other settings: {', '.join(changed)}. Give the "
            f"same ones ({root / SETTINGS}) to go on, or another data.root= for a new collection"
        )


def _read_lost(path: Path) -> list[Lost]:
    """Return what is listed; the file is cut before a line torn by a crash, whose episode is played again."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [Lost(**json.loads(line)) for line in whole.splitlines()]
