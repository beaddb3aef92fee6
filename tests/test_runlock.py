import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from worldjepa.runlock import RunFolderError, RunLock, RunLockedError

HOLD = """
import sys, time
from worldjepa.runlock import RunLock
lock = RunLock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(60)
"""

HOLD_AND_FORK = """
import os, sys, time
from worldjepa.runlock import RunLock
lock = RunLock(sys.argv[1]).acquire()
if os.fork() == 0:  # the child speaks, once it is past its beginning
    print(os.getpid(), flush=True)
time.sleep(60)
"""


def hold(code, folder):
    process = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_second_run_is_refused_by_name_until_the_first_dies(tmp_path):
    process, _ = hold(HOLD, tmp_path)
    with pytest.raises(RunLockedError) as caught:
        RunLock(tmp_path, wait=0).acquire()
    said = str(caught.value)
    assert f"{tmp_path} is in use by process {process.pid} on {socket.gethostname()}, started 20" in said
    assert "run.dir=" in said
    process.send_signal(signal.SIGKILL)  # no clean-up of any kind in the holder
    process.wait()
    with RunLock(tmp_path, wait=0):
        assert str(os.getpid()) in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""


def test_a_forked_worker_that_outlives_its_parent_does_not_keep_the_lock(tmp_path):
    process, child = hold(HOLD_AND_FORK, tmp_path)
    try:
        with pytest.raises(RunLockedError):
            RunLock(tmp_path, wait=0).acquire()
        process.kill()
        process.wait()
        os.kill(int(child), 0)  # still there
        with RunLock(tmp_path, wait=0):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_waits_for_a_holder_on_its_way_out_and_can_be_taken_again(tmp_path):
    first = RunLock(tmp_path).acquire()
    began = time.monotonic()
    with pytest.raises(RunLockedError, match=f"process {os.getpid()}"):
        RunLock(tmp_path, wait=0.2).acquire()
    assert 0.2 <= time.monotonic() - began < 2
    first.release()
    first.release()
    with RunLock(tmp_path, wait=0):
        pass


def test_a_refusal_names_the_setting_that_chose_the_folder(tmp_path):
    with (
        RunLock(tmp_path),
        pytest.raises(RunLockedError, match=r"choose another folder with data\.root=\.\.\.$"),
    ):
        RunLock(tmp_path, setting="data.root", wait=0).acquire()
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"^data\.root=\S+/file/below cannot .* with data\.root=\.\.\.$"):
        RunLock(tmp_path / "file/below", setting="data.root").acquire()
