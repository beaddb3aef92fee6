import errno
import subprocess
import sys

import pytest

from worldjepa.artifact import CheckpointWriteError
from worldjepa.refusals import guarded
from worldjepa.settings.schema import ConfigError


def raising(error: BaseException):
    def run() -> int:
        raise error

    return run


def full_checkpoint() -> CheckpointWriteError:
    error = CheckpointWriteError("could not write step_1. Free some space.")
    error.errno = errno.ENOSPC
    return error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "worldjepa.plan: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left"),
            1,
            "worldjepa.plan: No space left; free some space and give the same command again\n",
        ),
        (
            OSError(errno.EDQUOT, "Quota exceeded", "/run/a.bin"),
            1,
            "worldjepa.plan: /run/a.bin: Quota exceeded; free some space and give the same command again\n",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "/run"),
            1,
            "worldjepa.plan: /run: Read-only file system; choose a folder that can be written\n",
        ),
        (OSError(errno.EIO, "Input/output error"), 1, "worldjepa.plan: [Errno 5] Input/output error\n"),
        (full_checkpoint(), 1, "worldjepa.plan: could not write step_1. Free some space.\n"),
    ],
)
def test_what_stops_a_command_is_one_line_and_a_code(error, code: int, line: str, capsys):
    assert guarded("plan", raising(error)) == code
    assert capsys.readouterr().err == line


def test_a_fault_of_ours_keeps_its_traceback_and_a_result_passes():
    with pytest.raises(ConfigError):
        guarded("plan", raising(ConfigError("raised here, outside the library")))
    assert guarded("plan", lambda: 7) == 7


def test_what_the_file_of_a_command_raises_is_one_line_too(tmp_path):
    words = ["prepare.verify=true", f"out={tmp_path / 'nothing'}"]
    command = [sys.executable, "-m", "worldjepa.prepare", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("worldjepa.prepare: ") and done.stderr.count("\n") == 1
