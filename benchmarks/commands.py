"""Commands of ours, as a user types them."""

from __future__ import annotations

import shlex
import subprocess
import sys


def call(module: str, *words: str) -> None:
    """Say which command it is, and run it; raise ``CalledProcessError`` if it fails."""
    sys.stdout.write(f"+ python -m {module} {shlex.join(words)}\n")
    sys.stdout.flush()
    subprocess.run([sys.executable, "-m", module, *words], check=True)
