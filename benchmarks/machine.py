"""What a committed table has to name: command, commit, versions, processor, threads, date."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile")


def describe(command: str, threads: int, clock: str) -> dict[str, str]:
    """Return the circumstances of a measurement, in the order in which a table names them."""
    return {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "threads": str(threads),
        "clock": {"wall": "wall", "cpu": "processor time of the process"}[clock],
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}",
    }


def commit() -> str:
    """Return the short hash of the checkout, with ``-dirty`` when files differ from it."""
    found, name = _git("rev-parse", "--short", "HEAD")
    if not found:
        return "not a git checkout"
    return name + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no")[1] else "")


def _git(*words: str) -> tuple[bool, str]:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout.strip()


def processor() -> str:
    """Return the processor's name, its cores, and what of it speeds up matrix products."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = [line.split(":", 1) for line in info.read_text().splitlines() if ":" in line]
    fields = {key.strip(): value.strip() for key, value in lines}
    flags = [flag for flag in FLAGS if flag in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.machine())} ({', '.join(flags)})"
