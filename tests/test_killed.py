"""``index`` and ``prepare`` killed at random moments, many times: the end is that of a run left alone."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

COMMANDS = {
    "index": ("index", ["data.index={out}/index.sqlite"]),
    "encoded": ("prepare", ["out={out}", "data.size=64", "prepare.shard_mb=1"]),
    "raw": ("prepare", ["out={out}", "data.size=64", "prepare.shard_mb=1", "prepare.raw=true"]),
}


def command(kind: str, root: Path, out: Path) -> list[str]:
    name, words = COMMANDS[kind]
    words = [word.format(out=out) for word in words]
    return [sys.executable, "-m", f"worldjepa.{name}", f"data.root={root}", "data.num_workers=2", *words]


def start(words: Sequence[str], out: Path) -> subprocess.Popen:
    """Start the command; return when it has begun to write in ``out``, or has ended."""
    before = times(out)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    while times(out) == before and process.poll() is None:
        time.sleep(0.01)
    return process


def times(out: Path) -> dict[str, int]:
    """Return when each file was last changed."""
    found = {}
    for entry in os.scandir(out):
        with contextlib.suppress(FileNotFoundError):  # a temporary one, gone by now
            found[entry.name] = entry.stat().st_mtime_ns
    return found


def finish_by_kills(words: Sequence[str], out: Path, seconds: float, rng: random.Random) -> int:
    """Give the command until it ends by itself, killed at random in its first ``seconds`` of work.

    Returns how often it was killed. The more often, the longer it is left alone.
    """
    for kills in range(100):
        process = start(words, out)
        try:
            assert process.wait(rng.uniform(0, seconds * (1 + kills / 5))) == 0
            return kills
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    pytest.fail("does not come to its end")


def contents(out: Path) -> dict[str, object]:
    """Return the bytes of every file; of an index, its rows."""
    index = out / "index.sqlite"
    if index.exists():
        with sqlite3.connect(index) as db:
            return {"rows": db.execute("SELECT * FROM file ORDER BY path").fetchall()}
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "lock"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("root", ["real_clips", "corpus"])
def test_killed_at_random_it_ends_the_same(kind, root, request, tmp_path):
    root, alone, killed = request.getfixturevalue(root), tmp_path / "alone", tmp_path / "killed"
    for out in (alone, killed):
        out.mkdir()
    process = start(command(kind, root, alone), alone)
    began = time.monotonic()
    assert process.wait() == 0
    seconds = time.monotonic() - began
    kills = finish_by_kills(command(kind, root, killed), killed, seconds / 2, random.Random(0))
    print(kind, root, f"{seconds:.1f} s, killed {kills} times")
    assert kills > 0 and contents(killed) == contents(alone)
    assert len(contents(alone)) > 0 and not [name for name in os.listdir(killed) if "partial" in name]
