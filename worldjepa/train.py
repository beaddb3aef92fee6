"""``python -m worldjepa.train +experiment=kinetics``: read the settings, then train."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Sequence

import yaml

from worldjepa.compose import compose, read_flags
from worldjepa.config import TrainConfig
from worldjepa.schema import ConfigError, to_dict
from worldjepa.usage import train_usage
from worldjepa.validate import require_data

_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = read_flags(argv)[0]
        if flags.help:
            sys.stdout.write(train_usage() + "\n")
            return 0
        config = compose(argv)
        if flags.show:
            sys.stdout.write(yaml.safe_dump(to_dict(config), sort_keys=False))
            return 0
        require_data(config)
    except ConfigError as error:
        return _refuse(error, 2)
    return _train(config, argv)


def _train(config: TrainConfig, argv: list[str]) -> int:
    # torch comes in only now: a wrong word was answered at once
    from worldjepa.stages import run_training

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    one_voice = os.environ.get("RANK", "0") == "0"  # the ranks of torchrun would say everything at once
    logging.getLogger("worldjepa").setLevel(logging.INFO if one_voice else logging.ERROR)
    try:
        return run_training(config, argv)
    except KeyboardInterrupt:  # outside the loop, which saves first; or the second one
        return _refuse("interrupted", 128 + signal.SIGINT)
    except (ValueError, FileNotFoundError) as error:
        if not _raised_by_us(error):
            raise
        return _refuse(error, 2)
    except OSError as error:
        if not _raised_by_us(error) and error.errno not in _OF_THE_DISK:
            raise
        return _refuse(error, 1)
    except RuntimeError as error:  # a plain one is torch's, raised in our frames: a fault
        if not type(error).__module__.startswith("worldjepa."):
            raise
        return _refuse(error, 1)
    except ImportError as error:
        if not _raised_by_us(error):
            raise
        return _refuse(error, 1)


def _raised_by_us(error: BaseException) -> bool:
    """Tell whether the error was raised in our code, its message meant for the user, or is a fault below."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and str(frame.tb_frame.f_globals.get("__name__")).startswith("worldjepa.")


def _refuse(error: Exception | str, code: int) -> int:
    sys.stderr.write(f"worldjepa.train: {error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
