"""Which errors become one line and an exit code, and which are faults that keep their traceback."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)
_FULL = "free some space and give the same command again"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "choose a folder that can be written",
}


def exit_code(error: Exception) -> int | None:
    """Return 2 for a mistake of the caller's, 1 for the machine or the environment, None for a fault of ours.

    A ``ValueError``, ``ImportError`` or ``OSError`` is meant for the user if it was raised in our code; a
    ``RuntimeError`` if its class is ours; an ``OSError`` also if the disk is full or cannot be written.
    """
    ours = _raised_by_us(error)
    if isinstance(error, ValueError | FileNotFoundError):
        return 2 if ours else None
    if isinstance(error, ImportError):
        return 1 if ours else None
    if isinstance(error, OSError):
        return 1 if ours or error.errno in _OF_THE_DISK else None
    return 1 if type(error).__module__.startswith("worldjepa.") else None


def refuse(program: str, error: Exception | str, code: int) -> int:
    """Say in one line why ``program`` stops; return its exit code."""
    sys.stderr.write(f"worldjepa.{program}: {error}\n")
    return code


def guarded(program: str, run: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """Return the exit code of ``run``; what stops it is said in one line, but for faults of ours."""
    try:
        return run()
    except KeyboardInterrupt:
        return refuse(program, interrupted, 128 + signal.SIGINT)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        code = exit_code(error)
        if code is None:
            raise
        return refuse(program, _told(error), code)


def _told(error: Exception) -> str:
    """Return the text of an error; where a disk cannot take more, with the file if known, and what to do.

    Errors of our own classes say that already.
    """
    ours = type(error).__module__.startswith("worldjepa.")
    if ours or not isinstance(error, OSError) or error.errno not in _ADVICE:
        return str(error)
    place = "" if error.filename is None else f"{error.filename}: "
    return f"{place}{error.strerror}; {_ADVICE[error.errno]}"


def _raised_by_us(error: BaseException) -> bool:
    """Tell whether the error was raised in our code, its message meant for the user, or is a fault below."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return False
    names = frame.tb_frame.f_globals
    spec = names.get("__spec__")  # knows the name of a module that runs as __main__
    return str(names.get("__name__") if spec is None else spec.name).startswith("worldjepa.")
