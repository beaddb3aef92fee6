"""Loads what it is told to, in a process with little memory, and says what came of each.

Reads a JSON list of ``[entry, argument, ...]`` from a file; writes one JSON line each: what it said (None if
it was taken), how many megabytes more it had needed than before, and how many seconds of the processor.
"""

import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path

import torch

import worldjepa
from worldjepa.convert import main as convert
from worldjepa.refusals import exit_code
from worldjepa.train import main as train

ROOM = 1 << 30  # bytes beside those of the libraries


def attempt(entry, *arguments):
    """Return what was said against it, None if nothing was; faults of ours end in a traceback."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        if entry == "load":
            try:
                worldjepa.load(arguments[0], device="cpu")
            except ValueError as error:
                return str(error) if exit_code(error) == 2 else f"FAULT {error!r}"
            except Exception as error:
                return f"FAULT {error!r}"
            return None
        try:
            code = {"convert": convert, "resume": train}[entry](list(arguments))
        except Exception as error:
            return f"FAULT {error!r}"
    return None if code == 0 else said.getvalue()


def main():
    torch.set_num_threads(1)
    jobs = json.loads(Path(sys.argv[1]).read_text())
    attempt(*jobs[0])  # a good one, for what every load needs to be there before memory is measured
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for job in jobs:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        said = attempt(*job)
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(json.dumps([said, more, time.process_time() - began]), flush=True)


if __name__ == "__main__":
    main()
