"""read_clip and its readers: a named error for every bad file, index and reader, and nothing left behind."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.made_clips import KINDS, announce, make_audio, make_video, numbers
from worldjepa.data import BadVideoError, open_reader, read_clip
from worldjepa.data.deadline import Attempt, Deadline, OutOfTimeError


def test_indices_outside_are_named(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=5)
    for wrong in ([5], [-1], [0, 7]):
        with pytest.raises(ValueError, match=r"has 5 frames \(0 to 4\); index"):
            read_clip(path, wrong)
    with pytest.raises(ValueError, match="empty"):
        read_clip(path, [])


def test_bad_files_raise_bad_video_error(tmp_path, monkeypatch):
    whole = make_video(tmp_path / "whole.mp4", container_options={"movflags": "faststart"}).read_bytes()
    mkv = make_video(tmp_path / "whole.mkv").read_bytes()
    avi = make_video(tmp_path / "whole.avi", codec="mpeg4").read_bytes()
    late = make_video(tmp_path / "late.mp4").read_bytes()
    chunk = avi.index(b"00dc", len(avi) // 2)  # a frame's name; FFmpeg goes on behind
    cases = {
        "empty.mp4": (b"", "is empty"),
        "page.mp4": (b"<!DOCTYPE html><html><body>404</body></html>" * 20, "Invalid data"),
        "cut.mp4": (whole[: len(whole) * 7 // 10], "cut off"),
        "cut.mkv": (mkv[: len(mkv) * 7 // 10], "cut off"),
        "cut.avi": (avi[: len(avi) * 7 // 10], "cut off"),
        "gap.avi": (avi[:chunk] + bytes(8) + avi[chunk + 8 :], "lists 24 frames .* there are 23 in"),
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
    (tmp_path / "theirs.mp4").write_bytes(late)
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)  # as root, nothing is out of reach
        with pytest.raises(BadVideoError, match="Permission denied"):
            read_clip(tmp_path / "theirs.mp4", [0])
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


def test_every_damage_shows_where_the_stream_carries_hashes(tmp_path):
    """HEVC may carry a hash of each picture. Without it, decoders take most damage for other pictures."""
    options = {"x265-params": "bframes=0:log-level=none:pools=none:hash=1"}
    path = make_video(tmp_path / "a.mp4", codec="libx265", b_frames=0, options=options)
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    sound = path.read_bytes()
    assert numbers(read_clip(path, [12])) == [12]
    for position, size in spans[9:]:
        assert position is not None
        content = bytearray(sound)
        content[position + size // 2] ^= 16
        (tmp_path / "bit.mp4").write_bytes(content)
        with pytest.raises(BadVideoError):
            read_clip(tmp_path / "bit.mp4", range(8, 24))


def test_damage_at_the_start_leaves_later_frames(tmp_path):
    """The scan looks at the next key packet when the first cannot be decoded."""
    path = make_video(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
    assert first.pos is not None
    content = bytearray(path.read_bytes())
    stop = first.pos + first.size
    content[stop - 30 : stop] = bytes((7 * k + 3) % 256 for k in range(30))
    path.write_bytes(content)
    assert numbers(read_clip(path, [16, 23])) == [16, 23]
    with pytest.raises(BadVideoError):
        read_clip(path, [2])


def test_flipped_bytes_are_seen(real_clips, tmp_path):
    """Three hundred bytes of a clip: public readers return damaged frames of it without a word."""
    content = bytearray((real_clips / "part_0.mp4").read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(content) // 10, len(content) * 9 // 10, 300):
        content[place] ^= int(rng.integers(1, 256))
    (tmp_path / "flipped.mp4").write_bytes(content)
    with pytest.raises(BadVideoError):
        read_clip(tmp_path / "flipped.mp4", range(0, 32, 2))


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadVideoError, match=r"30000x30000 .* at most 67108864 pixels"):
        read_clip(announce(tmp_path / "vast.mjpeg", 30000), [0])
    with pytest.raises(BadVideoError, match=r"15000x15000 .* at most 67108864 pixels"):
        read_clip(announce(tmp_path / "large.avi", 15000), [0])
    Image.new("1", (9000, 9000)).save(tmp_path / "vast.png")
    with pytest.raises(BadVideoError, match="9000 x 9000 pixels; at most 67108864 pixels"):
        read_clip(tmp_path / "vast.png", [0], reader="image")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_decoding_ends_when_its_time_is_up(tmp_path):
    path = make_video(tmp_path / "a.mp4")
    deadline = Deadline(0.05)
    reader = open_reader("pyav", deadline=deadline)
    with deadline.attempt(Attempt(0, 0)):
        assert numbers(reader.read(path, [5])) == [5]
    with deadline.attempt(Attempt(0, 0)):
        time.sleep(0.06)
        with pytest.raises(OutOfTimeError, match=r"data\.timeout_s=0\.05 seconds"):
            reader.read(path, [5])
    with deadline.attempt(Attempt(1, 0)):  # a new file, but no time to look at it
        time.sleep(0.06)
        with pytest.raises(OutOfTimeError):
            reader.probe(make_video(tmp_path / "b.mp4"))
    assert numbers(reader.read(path, [5])) == [5]
    assert reader.probe(tmp_path / "b.mp4").num_frames == 24  # and no verdict stays
    with pytest.raises(ValueError, match=r"data\.timeout_s=0: expected a positive number"):
        Deadline(0)


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


def read_often(folder: Path, times: int) -> list[int]:
    """Read sound and damaged clips in turn; return the memory held, in KiB, at ten moments."""
    good = [make_video(folder / name, **KINDS[name]) for name in ("h264.mp4", "hevc.mp4", "b_frames.avi")]
    bad = folder / "bad.mp4"
    bad.write_bytes(good[0].read_bytes()[:1500])
    held, reader = [], open_reader("pyav")
    for count in range(times):
        reader.read(good[count % 3], [count % 24, 3], size=20)
        with pytest.raises(BadVideoError):
            open_reader("pyav").probe(bad)
        if (count + 1) % (times // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            held.append(pages * os.sysconf("SC_PAGE_SIZE") // 1024)
    return held


def test_memory_stays_flat(tmp_path):
    held = read_often(tmp_path, 300)
    assert held[-1] - held[4] < 4000, held


@pytest.mark.slow
def test_memory_stays_flat_over_ten_thousand_clips(tmp_path):
    held = read_often(tmp_path, 10_000)
    assert held[-1] - held[0] < 8000, held


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
    assert torch.equal(read_clip(path, [28, 3]), read_clip(path, range(29))[[28, 3]])
    for damaged in (29, 40, 49):  # packet 30 of the file, which is broken, is that of frame 30
        with pytest.raises(BadVideoError, match="Invalid data"):
            read_clip(path, [damaged])
