"""What a committed table has to name: command, commit, versions, processor, threads, date."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch
import transformers


def describe(command: str, threads: int, clock: str) -> dict[str, str]:
    """Return the circumstances of a measurement, in the order in which a table names them."""
    return {
        "command": command,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "threads": str(threads),
        "clock": {"wall": "wall", "cpu": "processor time of the process"}[clock],
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}",
    }


def commit() -> str:
    """Return the short hash of the checkout, with ``-dirty`` when files differ from it."""
    root = Path(__file__).parent
    git = ["git", "-C", str(root)]
    found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if found.returncode:
        return "not a git checkout"
    changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return found.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def processor() -> str:
    """Return the processor's name, its cores, and what of it speeds up matrix products."""
    name, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(
            [part.strip() for part in line.split(":", 1)] for line in info.read_text().splitlines() if ":" in line
        )
        name = fields.get("model name", name)
        flags = f" ({', '.join(flag for flag in ('avx2', 'avx512f', 'avx512_bf16', 'amx_tile') if flag in fields.get('flags', '').split())})"
    return name + flags
