"""Memory that is freed stays with the process: on a CPU, taking it anew costs a fifth of a large step.

glibc gives large blocks back to the system as soon as they are freed, and the system clears every page before
it hands it out again. A training step asks for the same sizes each time.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of mallopt's settings (malloc.h)
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep what this process frees; return False where there is no glibc, and nothing changes.

    For processes of our own, which allocate the same all the time; they stay as large as they once were.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, LARGEST))
