"""The doctor finds what works and what does not by trying it."""

from pathlib import Path

import pytest

from worldjepa import doctor


def test_report_of_a_sound_machine(capsys: pytest.CaptureFixture[str]):
    assert doctor.main() == 0
    report = capsys.readouterr().out
    lines = {line[6:24].strip(): line[:5].strip() for line in report.splitlines()}
    assert lines["torch"] == lines["write video"] == lines["reader pyav"] == "ok"
    assert report.endswith("all that training needs works\n")
    for name in ("cpu", "gpu", "gl", "disk, here", "reader decord", "reader torchcodec"):
        assert name in lines


def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(doctor, "NEEDED", ("torch", "no-such-package"))
    assert doctor.main() == 1
    report = capsys.readouterr().out
    assert "python -m pip install no-such-package" in report
    assert report.endswith("not working: no-such-package\n")


def test_readers_are_judged_by_what_they_decode(tmp_path: Path):
    clip = tmp_path / "clip.mp4"
    assert doctor._write_clip(clip).ok is True
    assert doctor._reader("pyav", clip).ok is True
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:200])
    assert doctor._reader("pyav", broken).ok is False
    assert doctor._reader("decord", broken).ok is None, "an optional reader does not fail the machine"


def test_a_clip_that_shows_the_wrong_frames_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clip = tmp_path / "clip.mp4"
    doctor._write_clip(clip)
    monkeypatch.setattr(doctor, "CLIP_FRAMES", doctor.CLIP_FRAMES - 2)  # expects the last but two as the last
    finding = doctor._reader("pyav", clip)
    assert finding.ok is True, "reads the frame asked for"
    monkeypatch.undo()
    monkeypatch.setattr(
        "worldjepa.data.video.reader.read_clip", lambda path, indices, reader: _black(len(indices))
    )
    assert doctor._reader("pyav", clip).ok is False


def _black(frames: int):
    import torch

    return torch.zeros(frames, 3, 4, 4, dtype=torch.uint8)
