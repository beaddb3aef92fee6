"""read_clip and its readers: a named error for every bad file, index and reader, and nothing left behind."""

import os
import subprocess
import sys

import av
import pytest
import torch

from tests.data.made_clips import make_audio, make_video, numbers
from worldjepa.data import BadVideoError, open_reader, read_clip


def test_indices_outside_are_named(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=5)
    for wrong in ([5], [-1], [0, 7]):
        with pytest.raises(ValueError, match=r"has 5 frames \(0 to 4\); index"):
            read_clip(path, wrong)
    with pytest.raises(ValueError, match="empty"):
        read_clip(path, [])


def test_bad_files_raise_bad_video_error(tmp_path):
    whole = make_video(tmp_path / "whole.mp4", container_options={"movflags": "faststart"}).read_bytes()
    mkv = make_video(tmp_path / "whole.mkv").read_bytes()
    avi = make_video(tmp_path / "whole.avi", codec="mpeg4").read_bytes()
    late = make_video(tmp_path / "late.mp4").read_bytes()
    cases = {
        "empty.mp4": (b"", "is empty"),
        "page.mp4": (b"<!DOCTYPE html><html><body>404</body></html>" * 20, "Invalid data"),
        "cut.mp4": (whole[: len(whole) * 7 // 10], "cut off"),
        "cut.mkv": (mkv[: len(mkv) * 7 // 10], "cut off"),
        "cut.avi": (avi[: len(avi) * 7 // 10], "cut off"),
        "headless.mp4": (late[: len(late) // 2], "Invalid data"),
        "playlist.mp4": (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + b"whole.ts\n#EXT-X-ENDLIST\n",
            "playlist.mp4",
        ),
        "zeros.mp4": (bytes(4000), "zeros.mp4"),
    }
    for name, (content, said) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadVideoError, match=said):
            read_clip(tmp_path / name, [0])
    with pytest.raises(BadVideoError, match="No such file"):
        read_clip(tmp_path / "missing.mp4", [0])
    with pytest.raises(BadVideoError, match="not a regular file"):
        read_clip(tmp_path, [0])
    with pytest.raises(BadVideoError, match="no video stream"):
        read_clip(make_audio(tmp_path / "audio.mp4"), [0])
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(BadVideoError, match="not a regular file"):
        read_clip(tmp_path / "pipe.mp4", [0])


def test_damage_is_bad_only_for_draws_that_need_it(tmp_path):
    """Packets of the second of three groups of pictures are overwritten; the first and third are sound."""
    path = make_video(tmp_path / "a.mp4", b_frames=0)
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    position, size = spans[10]
    assert position is not None
    content[position + 4 : position + size] = bytes((7 * k + 3) % 256 for k in range(size - 4))
    path.write_bytes(content)
    assert numbers(read_clip(path, [0, 7])) == [0, 7]
    assert numbers(read_clip(path, [16, 23])) == [16, 23]
    for needs_it in ([10], [15], [0, 12, 23]):
        with pytest.raises(BadVideoError):
            read_clip(path, needs_it)


def test_a_verdict_lasts_as_long_as_the_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"nothing")
    reader = open_reader("pyav")
    for _ in range(2):
        with pytest.raises(BadVideoError):
            reader.probe(path)
    make_video(path, count=4)
    assert reader.probe(path).num_frames == 4


def test_no_file_stays_open(tmp_path):
    good = make_video(tmp_path / "a.mp4")
    (tmp_path / "bad.mp4").write_bytes(good.read_bytes()[:2000])
    reader = open_reader("pyav")
    before = len(os.listdir("/proc/self/fd"))
    for k in range(20):
        reader.read(good, [k, 3])
        with pytest.raises(BadVideoError):
            open_reader("pyav").probe(tmp_path / "bad.mp4")
    assert len(os.listdir("/proc/self/fd")) == before


def test_unknown_reader_is_named():
    with pytest.raises(ValueError, match="did you mean 'decord'"):
        open_reader("decrod")


def test_imports_are_cheap_and_absent_readers_say_how_to_install_them(tmp_path):
    code = (
        "import sys, worldjepa.data\n"
        "print('torch' in sys.modules)\n"
        "for name in ('decord', 'torchcodec'):\n"
        "    sys.modules[name] = None\n"
        "    try: worldjepa.data.open_reader(name)\n"
        "    except ImportError as error: print(error)\n"
        "del sys.modules['torchcodec']\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "try: worldjepa.data.open_reader('torchcodec')\n"
        "except ImportError as error: print(error)"
    )
    (tmp_path / "torchcodec.py").write_text("raise RuntimeError('Could not load.\\n  Likely causes: ...')")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    early_torch, decord, torchcodec, unloadable = said.splitlines()
    assert early_torch == "False"
    assert decord.endswith("python -m pip install decord")
    assert torchcodec.endswith("python -m pip install torchcodec")
    assert "does not load (Could not load.)" in unloadable and "apt-get install ffmpeg" in unloadable


def test_real_corrupted_clip(real_clips):
    path = real_clips / "corrupted.mp4"
    assert open_reader("pyav").probe(path).num_frames == 50
    assert torch.equal(read_clip(path, [27, 3]), read_clip(path, range(28))[[27, 3]])
    for damaged in (28, 40, 49):
        with pytest.raises(BadVideoError, match="Invalid data"):
            read_clip(path, [damaged])
