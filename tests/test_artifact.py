import errno
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from worldjepa import artifact
from worldjepa.artifact import CheckpointWriteError, TornFolderError


def text(value):
    return lambda path: path.write_text(value)


def make_step(run, step, **files):
    files = files or {"a": "one", "b": "two"}
    path = artifact.checkpoint_path(run, step)
    return artifact.write_folder(path, {f"{name}.txt": text(value) for name, value in files.items()})


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_manifest_holds_the_sums_and_sizes_of_every_file(tmp_path):
    path = make_step(tmp_path, 7, a="one")
    assert path == tmp_path / "checkpoints" / "step_00000007"
    assert names(path) == ["a.txt", "manifest.json"]
    manifest = json.loads((path / "manifest.json").read_text())
    # sha256("one")
    digest = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    assert manifest["files"] == {"a.txt": {"sha256": digest, "bytes": 3}}
    artifact.verify_folder(path)


def test_every_file_is_synced_before_the_manifest_and_the_parent_after_the_rename(tmp_path, monkeypatch):
    events = []
    sync, rename = artifact._sync, os.rename
    monkeypatch.setattr(artifact, "_sync", lambda path: (events.append(path.name), sync(path)))
    monkeypatch.setattr(os, "rename", lambda a, b: (events.append("rename"), rename(a, b)))
    make_step(tmp_path, 1)
    staging = events[3]
    assert staging.startswith(".staging-step_00000001-")
    assert events == ["a.txt", "b.txt", "manifest.json", staging, "rename", "checkpoints"]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda p: (p / "a.txt").unlink(), "lacks a.txt"),
        (lambda p: (p / "manifest.json").unlink(), "lacks manifest.json"),
        (lambda p: (p / "a.txt").write_text("onx"), "contents of a.txt differ"),
        (lambda p: (p / "a.txt").write_text("o"), "a.txt has 1 bytes, its manifest says 3"),
        (lambda p: (p / "more.txt").write_text("x"), "holds 'more.txt'"),
        (lambda p: (p / "sub").mkdir(), "holds 'sub'"),
        (lambda p: (p / "manifest.json").write_text("{"), "cannot be read"),
        (
            lambda p: (p / "manifest.json").write_text('{"format": 1, "files": {"../x": {}}}'),
            "cannot be read",
        ),
        (
            lambda p: (p / "manifest.json").write_text(
                '{"format": 1, "files": {"../x": {"sha256": "", "bytes": 0}}}'
            ),
            "'../x', which is not a plain file name",
        ),
        (lambda p: (p / "manifest.json").write_text('{"format": 9, "files": {}}'), "format 9"),
    ],
)
def test_verify_names_what_is_wrong(tmp_path, break_it, says):
    path = make_step(tmp_path, 1)
    break_it(path)
    with pytest.raises(TornFolderError, match=says.replace(".", r"\.")):
        artifact.verify_folder(path)


def test_links_are_refused(tmp_path):
    path = make_step(tmp_path, 1)
    (tmp_path / "elsewhere").write_text("one")
    (path / "a.txt").unlink()
    (path / "a.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TornFolderError, match="not a plain file"):
        artifact.verify_folder(path)
    linked = tmp_path / "checkpoints" / "step_00000002"
    linked.symlink_to(path)
    with pytest.raises(TornFolderError, match="is not a folder"):
        artifact.verify_folder(linked)


def test_odd_names_and_a_whole_target_are_refused(tmp_path):
    for name in ("../x", ".hidden", "a/b", "", "manifest.json"):
        with pytest.raises(ValueError, match="cannot be a file of"):
            artifact.write_folder(tmp_path / "f", {name: text("x")})
    path = make_step(tmp_path, 1)
    with pytest.raises(FileExistsError, match="already there and whole"):
        make_step(tmp_path, 1, a="other")
    assert (path / "a.txt").read_text() == "one"


def test_a_torn_target_is_replaced(tmp_path):
    path = make_step(tmp_path, 1)
    (path / "b.txt").unlink()
    make_step(tmp_path, 1, a="new")
    assert names(path) == ["a.txt", "manifest.json"]
    assert names(path.parent) == ["step_00000001"]


def test_latest_passes_over_torn_ones_and_says_so(tmp_path, caplog):
    assert artifact.latest_checkpoint(tmp_path) is None
    first, second, third = (make_step(tmp_path, step) for step in (20, 100, 3000))
    artifact.point_latest(first)  # only a hint, not trusted
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step_00000020\n"
    assert artifact.latest_checkpoint(tmp_path) == third
    (third / "b.txt").write_text("twx")
    (tmp_path / "checkpoints" / "step_00009999").mkdir()
    with caplog.at_level(logging.WARNING):
        assert artifact.latest_checkpoint(tmp_path) == second
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "step_00009999 lacks manifest.json" in said[0]
    assert "step_00003000: the contents of b.txt differ" in said[1]


def test_prune_keeps_the_last_and_every_nth_whole_ones(tmp_path):
    for step in (10, 20, 30, 40, 50, 60):
        make_step(tmp_path, step)
    folder = tmp_path / "checkpoints"
    (folder / "step_00000050" / "a.txt").unlink()  # torn, older than the newest whole one: goes
    make_step(tmp_path, 70)
    (folder / "step_00000070" / "manifest.json").unlink()  # torn and newest: is not counted and stays
    removed = artifact.prune_checkpoints(tmp_path, keep_last=2, keep_every=20)
    assert [artifact.checkpoint_step(p) for p in removed] == [10, 30, 50]
    assert [artifact.checkpoint_step(folder / name) for name in names(folder)] == [20, 40, 60, 70]
    with pytest.raises(ValueError, match="keep_last=0"):
        artifact.prune_checkpoints(tmp_path, keep_last=0)


def test_leftovers_are_cleaned(tmp_path):
    path = make_step(tmp_path, 1)
    left = path.parent / ".staging-step_00000002-abcd"
    left.mkdir()
    (left / "model").write_text("half")
    (tmp_path / ".staging-metrics.jsonl").write_text("half")
    assert sorted(p.name for p in artifact.clean_leftovers(tmp_path)) == [
        ".staging-metrics.jsonl",
        ".staging-step_00000002-abcd",
    ]
    assert names(path.parent) == ["step_00000001"]
    artifact.verify_folder(path)


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    make_step(tmp_path, 1)

    def fail(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artifact.write_folder(artifact.checkpoint_path(tmp_path, 2), {"a.txt": text("x"), "b.txt": fail})
    assert names(tmp_path / "checkpoints") == ["step_00000001"]


def test_a_full_disk_keeps_the_previous_checkpoint_and_says_so(tmp_path):
    make_step(tmp_path, 1)

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(CheckpointWriteError) as caught:
        artifact.write_folder(artifact.checkpoint_path(tmp_path, 2), {"a.txt": text("x"), "b.txt": full})
    said = str(caught.value)
    assert "step_00000002 (at b.txt): No space left on device" in said
    assert "MB are free there. The previous checkpoint step_00000001 is kept. Free some space" in said
    assert caught.value.errno == errno.ENOSPC
    assert artifact.latest_checkpoint(tmp_path) == artifact.checkpoint_path(tmp_path, 1)
    assert names(tmp_path / "checkpoints") == ["step_00000001"]


def test_a_real_limit_on_file_size_is_reported_the_same_way(tmp_path):
    make_step(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(CheckpointWriteError, match=r"File too large.*step_00000001 is kept"):
            make_step(tmp_path, 2, a="x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path / "checkpoints") == ["step_00000001"]


WRITE_FOR_EVER = """
import sys
from worldjepa import artifact
step = 1
while True:
    files = {f"{i}.bin": lambda p: p.write_bytes(bytes([step % 256]) * 300_000) for i in range(3)}
    path = artifact.write_folder(artifact.checkpoint_path(sys.argv[1], step), files)
    artifact.point_latest(path)
    artifact.prune_checkpoints(sys.argv[1], keep_last=2)
    print(step, flush=True)
    step += 1
"""


def test_sigkill_at_any_moment_leaves_a_whole_checkpoint_and_only_whole_ones(tmp_path):
    for kill in range(6):
        run = tmp_path / str(kill)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, run], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(2 + kill):
            process.stdout.readline()
        time.sleep(0.003 * kill)
        process.send_signal(signal.SIGKILL)
        done = [int(line) for line in process.stdout.read().split()] or [2 + kill]
        process.wait()
        latest = artifact.latest_checkpoint(run)
        assert latest is not None
        step = artifact.checkpoint_step(latest)
        assert step is not None
        assert step in (done[-1], done[-1] + 1)  # the next one may have been renamed but not reported
        assert (latest / "0.bin").read_bytes() == bytes([step % 256]) * 300_000
        artifact.clean_leftovers(run)
        for path in (run / "checkpoints").iterdir():
            assert path.name == "latest" or artifact.is_whole(path), path
