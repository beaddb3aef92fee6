"""Damage done to files, and what a reader makes of it, in a process of its own that may crash or hang."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldjepa.data import BadVideoError, UnsupportedVideoError
from worldjepa.data.deadline import Attempt, Deadline, OutOfTimeError
from worldjepa.data.video.reader import open_reader

KINDS = ("bit", "bytes", "sprinkle", "hole", "cut", "swap", "insert", "delete", "header")
PATIENCE_S = 60.0


def mutate(content: bytes, kind: str, rng: np.random.Generator) -> bytes:
    """Return ``content`` with one kind of damage."""
    data = bytearray(content)
    at = int(rng.integers(len(data)))
    if kind == "bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "bytes":
        data[at : at + 8] = rng.bytes(len(data[at : at + 8]))
    elif kind == "sprinkle":
        for place in rng.integers(len(data) // 20, len(data), 300):
            data[place] = int(rng.integers(256))
    elif kind == "hole":
        length = min(int(rng.integers(16, 4096)), len(data) - at)
        data[at : at + length] = bytes(length)
    elif kind == "cut":
        del data[at:]
    elif kind == "swap":
        length, other = min(256, len(data) // 4), int(rng.integers(len(data)))
        first, second = data[at : at + length], data[other : other + length]
        length = min(len(first), len(second))
        data[at : at + length], data[other : other + length] = second[:length], first[:length]
    elif kind == "insert":
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    elif kind == "delete":
        del data[at : at + int(rng.integers(1, 64))]
    else:  # the first or last bytes, where containers keep their tables
        place = int(rng.integers(min(1500, len(data))))
        data[place if rng.integers(2) else -1 - place] = int(rng.integers(256))
    return bytes(data)


def read_mutants(path: Path, numbers: range, folder: Path) -> Counter[str]:
    """Damage a copy of ``path`` once for each of ``numbers`` and read it; count what came of it.

    Counted are "refused", "right" (each frame is one of the original's, bit by bit) and "wrong" with the
    kind of damage. Raises ``AssertionError``, with the number, for a crash or a hang.
    """
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_read_all, args=(path, numbers, folder, send))
    child.start()
    send.close()
    outcomes: list[str] = []
    try:
        while len(outcomes) < len(numbers):
            where = f"{path.name}, mutation {numbers[len(outcomes)]}"
            assert receive.poll(PATIENCE_S), f"{where}: hangs"
            try:
                outcomes.append(receive.recv())
            except EOFError:
                child.join(10)
                raise AssertionError(f"{where}: crashed with exit code {child.exitcode}") from None
    finally:
        child.kill()
        child.join()
    return Counter(outcomes)


def _read_all(path: Path, numbers: range, folder: Path, send: Connection) -> None:
    torch.set_num_threads(1)
    content = path.read_bytes()
    whole = open_reader("pyav")
    originals = {_key(f) for f in whole.read(path, range(whole.probe(path).num_frames))}
    target = folder / f"mutant{path.suffix}"
    for number in numbers:
        rng = np.random.default_rng([number, len(content)])
        kind = KINDS[number % len(KINDS)]
        target.write_bytes(mutate(content, kind, rng))
        send.send(_outcome(target, kind, originals, rng))


def _outcome(target: Path, kind: str, originals: set[bytes], rng: np.random.Generator) -> str:
    deadline = Deadline(PATIENCE_S / 2)
    reader = open_reader("pyav", deadline=deadline)
    try:
        with deadline.attempt(Attempt(0, 0)):
            count = reader.probe(target).num_frames
            frames = reader.read(target, np.unique(rng.integers(count, size=4)).tolist())
    except (BadVideoError, UnsupportedVideoError):
        return "refused"
    except OutOfTimeError:
        return "too slow"
    return "right" if all(_key(frame) in originals for frame in frames) else f"wrong: {kind}"


def _key(frame: Tensor) -> bytes:
    return frame.contiguous().numpy().tobytes()
