"""What processes of our own have in common: they import what the main one does, and never outlive it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time


def import_path() -> str:
    """Return the ``PYTHONPATH`` with which a fresh interpreter finds the modules that this one finds."""
    return os.pathsep.join([os.path.abspath(entry) for entry in sys.path if entry != ""] + [os.getcwd()])


def end_with(parent: int) -> None:
    """End this process within a second of its ``parent``'s end, whatever this one is at.

    Where a fork server started it (the way of Python 3.14), the system's parent is that server, and
    ``multiprocessing`` tells when the process that asked for it has ended.
    """
    asked = multiprocessing.parent_process()

    def watch() -> None:
        if asked is not None and asked.pid == parent != os.getppid():
            asked.join()
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
