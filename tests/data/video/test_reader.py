"""read_clip and its readers: the right frames of every kind of file."""

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import Interpolation

from tests.data.made_clips import HEIGHT, WIDTH, make_video, motion_jpeg, numbers, remux, trim, two_streams
from worldjepa.data import BadVideoError, UnsupportedVideoError, open_reader, read_clip
from worldjepa.data.video.reader import target_size

REAL = [
    *("arm_wrestling.mp4", "test.mp4", "structuralize.mp4", "part_0.mp4", "flipping_a_pancake.mkv"),
    *("spatiotemporal_det.mp4", "test.avi", "h265_video.mp4", "av1_video.mkv"),
    *("video_90.mov", "unordered.mov"),
]
STATED = dict(zip(REAL, (280, 300, 300, 32, 310, 57, 164, 10, 125, 3, 4), strict=True))

REFUSED_BY_TORCHCODEC = (
    "transport.ts",
    "intra_refresh.mp4",
    "b_frames.avi",
    "h264.avi",
    "raw.h264",
    "program.mpg",
)
REFUSED_BY_DECORD = (
    "transport.ts",
    "open_gop.mp4",
    "intra_refresh.mp4",
    "b_frames.avi",
    "h264.avi",
    "raw.h264",
    "hevc.mp4",
    "layers.mkv",
    "av1.mkv",
    "program.mpg",
)


def slow_decode(path: Path) -> torch.Tensor:
    """Decode every frame in the decoder's order and bring it upright with PyAV's own rotation."""
    with av.open(str(path)) as container:
        stream = max(container.streams.video, key=lambda s: s.width * s.height)
        frames = []
        for frame in container.decode(stream):
            rgb = frame.reformat(format="rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()
            frames.append(np.rot90(rgb, frame.rotation // 90))
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def torchcodec_loads() -> bool:
    """Whether torchcodec finds FFmpeg libraries here; if not, our error has to say what to install."""
    try:
        open_reader("torchcodec")
    except ImportError as error:
        return "apt-get install ffmpeg" not in str(error)
    return True


def test_every_kind_of_file_gives_the_frames_asked_for(made):
    ids = [23, 0, 5, 5, 17, 8, 7, 9, 16, 15]
    for name, path in made.items():
        info = open_reader("pyav").probe(path)
        assert (info.num_frames, info.height, info.width) == (24, HEIGHT, WIDTH), name
        assert np.allclose(np.diff(info.timestamps), 0.04, atol=1.1e-3), name
        assert numbers(read_clip(path, ids)) == ids, name
        for single in (0, 1, 9, 22, 23):
            assert numbers(read_clip(path, [single])) == [single], name


def test_variable_frame_rate_keeps_its_timestamps(tmp_path):
    stamps = [0, 10, 20, 100, 110, 400] + [500 + 40 * k for k in range(10)]
    path = make_video(tmp_path / "vfr.mp4", count=16, stamps=stamps)
    info = open_reader("pyav").probe(path)
    assert np.allclose(info.timestamps * 1000, stamps, atol=0.01)
    assert numbers(read_clip(path, [5, 6, 3])) == [5, 6, 3]


def test_what_an_avi_leaves_out_is_no_damage(tmp_path):
    """Empty chunks stand where frames were dropped: the header counts them, the list of chunks does not."""
    stamps = [40 * (i + 2 * (i > 5)) for i in range(12)]
    path = make_video(tmp_path / "a.avi", count=12, codec="mpeg4", b_frames=0, stamps=stamps)
    info = open_reader("pyav").probe(path)
    assert np.allclose(info.timestamps * 1000, stamps, atol=0.01)
    assert numbers(read_clip(path, [11, 5, 6])) == [11, 5, 6]


def test_what_an_edit_list_hides_is_not_counted(tmp_path):
    path = trim(make_video(tmp_path / "source.mp4", b_frames=0), tmp_path / "cut.mp4")
    slow = numbers(slow_decode(path))
    assert open_reader("pyav").probe(path).num_frames == len(slow)
    assert numbers(read_clip(path, range(len(slow)))) == slow
    assert numbers(read_clip(path, [len(slow) - 1, 2])) == [slow[-1], slow[2]]


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_titles_that_are_no_text_are_passed_over(tmp_path, kind):
    """Of the file and of the stream, overwritten with bytes that are no UTF-8."""
    path = tmp_path / f"titled.{kind}"
    with av.open(str(make_video(tmp_path / "source.mp4"))) as inp, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(inp.streams.video[0])
        out.metadata["title"] = stream.metadata["title"] = stream.metadata["handler_name"] = "a title"
        for packet in inp.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    content = path.read_bytes()
    assert content.count(b"a title") >= 2
    path.write_bytes(content.replace(b"a title", b"\xff\xfea \x80\x81\xff"))
    assert open_reader("pyav").probe(path).num_frames == 24
    assert numbers(read_clip(path, [23, 5, 17])) == [23, 5, 17]


def test_frames_before_the_first_key_packet_do_not_count(tmp_path):
    path = remux(make_video(tmp_path / "source.mp4"), tmp_path / "headless.mp4", first_packet=3)
    info = open_reader("pyav").probe(path)
    assert info.num_frames == 16
    assert numbers(read_clip(path, [0, 15])) == [8, 23]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
def test_orientation(tmp_path, rotation, hflip):
    """The muxer's convention: turn counter-clockwise, then mirror left to right."""
    plain = read_clip(make_video(tmp_path / "plain.mp4", count=3), [2])[0].permute(1, 2, 0).numpy()
    path = make_video(tmp_path / "turned.mp4", count=3, rotation=rotation, hflip=hflip)
    expected = np.rot90(plain, rotation // 90)
    expected = expected[:, ::-1] if hflip else expected
    clip = read_clip(path, [2])[0].permute(1, 2, 0).numpy()
    assert clip.shape == expected.shape
    assert np.array_equal(clip, expected)
    info = open_reader("pyav").probe(path)
    assert (info.height, info.width) == expected.shape[:2]
    sized = read_clip(path, [2], size=(20, 30))[0].float().mean(dim=0)
    small = torch.nn.functional.interpolate(
        torch.from_numpy(expected.copy()).permute(2, 0, 1)[None].float(),
        (20, 30),
        mode="bilinear",
        antialias=True,
    )[0].mean(dim=0)
    assert (sized - small).abs().mean() < 4


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_jpegs_are_turned_as_their_exif_says(tmp_path, orientation, turns):
    """Alone and as the frames of a video: upright, or refused by those that do not look at the EXIF."""
    readers = ["pyav", "auto", "decord"] + ["torchcodec"] * torchcodec_loads()
    for name in ("photo_with_exif.jpg", "camera.mov", "camera.avi"):
        path = motion_jpeg(tmp_path / name, orientation)
        ids = [0] if name.endswith(".jpg") else [3, 0, 5]
        info = open_reader("pyav").probe(path)
        assert (info.height, info.width) == ((HEIGHT, WIDTH) if turns % 2 == 0 else (WIDTH, HEIGHT))
        for reader in readers:
            try:
                clip = read_clip(path, ids, reader=reader)
            except UnsupportedVideoError:
                assert reader in ("decord", "torchcodec") and (turns or name.endswith(".jpg"))
            else:
                assert numbers(clip.rot90(-turns, dims=(2, 3))) == ids, (name, reader)


@pytest.mark.parametrize("large_first", [False, True])
def test_the_largest_of_several_streams_is_read(tmp_path, large_first):
    clip = read_clip(two_streams(tmp_path / "two.mp4", large_first), [0, 4])
    assert clip.shape == (2, 3, 80, 96)
    assert abs(clip.float().mean().item() - 200) < 3


def test_sizes(tmp_path):
    path = make_video(tmp_path / "a.mp4", count=2)
    assert read_clip(path, [0]).shape == (1, 3, 48, 128)
    assert read_clip(path, [0], size=24).shape == (1, 3, 24, 64)
    assert read_clip(path, [0], size=(31, 57)).shape == (1, 3, 31, 57)
    assert target_size(256, 340, 128) == (128, 170)
    assert target_size(340, 256, 128) == (170, 128)
    assert target_size(256, 340, None) == (256, 340)
    with pytest.raises(ValueError, match="size=0"):
        read_clip(path, [0], size=0)


def test_image_reader(tmp_path):
    from PIL import Image

    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :10, 0] = 250
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    exif = image.getexif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to view
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image.convert("L").save(tmp_path / "grey.png")
    assert np.array_equal(
        read_clip(tmp_path / "a.png", [0, 0], reader="image")[1].permute(1, 2, 0).numpy(), pixels
    )
    turned = read_clip(tmp_path / "turned.jpg", [0], reader="image")[0].permute(1, 2, 0).numpy()
    assert turned.shape == (30, 20, 3)
    assert np.abs(turned.astype(int) - np.rot90(pixels, -1)).mean() < 3
    assert read_clip(tmp_path / "grey.png", [0], size=(8, 8), reader="image").shape == (1, 3, 8, 8)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:200])
    with pytest.raises(BadVideoError):
        read_clip(tmp_path / "broken.jpg", [0], reader="image")


@pytest.mark.parametrize(
    ("reader", "refused"), [("decord", REFUSED_BY_DECORD), ("torchcodec", REFUSED_BY_TORCHCODEC)]
)
def test_other_readers_read_the_same_frames_or_refuse(made, reader, refused):
    if reader == "torchcodec" and not torchcodec_loads():
        pytest.skip("torchcodec finds no FFmpeg")
    for name, path in made.items():
        if name in refused:
            with pytest.raises(UnsupportedVideoError, match=r"use data.reader=pyav"):
                read_clip(path, [23, 5, 17, 8], reader=reader)
        else:
            assert numbers(read_clip(path, [23, 5, 5, 17, 8], reader=reader)) == [23, 5, 5, 17, 8], name
        assert numbers(read_clip(path, [23, 5], reader="auto")) == [23, 5], name


@pytest.mark.parametrize("reader", ["decord", "torchcodec"])
def test_other_readers_on_odd_timelines(tmp_path, reader):
    """Variable frame rate, an edit list, several streams: right, or refused."""
    if reader == "torchcodec" and not torchcodec_loads():
        pytest.skip("torchcodec finds no FFmpeg")
    stamps = [0, 10, 20, 100, 110, 400] + [500 + 40 * k for k in range(10)]
    vfr = make_video(tmp_path / "vfr.mp4", count=16, stamps=stamps)
    trimmed = trim(make_video(tmp_path / "whole.mp4", b_frames=0), tmp_path / "trimmed.mp4")
    for path in (vfr, trimmed, two_streams(tmp_path / "two.mp4", large_first=False)):
        exact = read_clip(path, [4, 0, 3]).float()
        try:
            clip = read_clip(path, [4, 0, 3], reader=reader)
        except UnsupportedVideoError:
            continue
        assert (clip - exact).abs().mean() < 3


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
def test_frames_are_those_of_ffmpeg(made, tmp_path):
    coloured = make_video(tmp_path / "colour.mp4", colorspace=1, pix_fmt="yuv444p")  # BT.709
    for path in (*made.values(), coloured):
        compare_with_ffmpeg(path)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
@pytest.mark.parametrize("name", REAL)
def test_real_clips_against_ffmpeg(real_clips, name):
    compare_with_ffmpeg(real_clips / name)


def compare_with_ffmpeg(path: Path) -> None:
    """Read up to eight frames; each has to be ffmpeg's own, and closer to it than to its neighbours."""
    info = open_reader("pyav").probe(path)
    options = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", *options, "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    all_frames = np.frombuffer(raw, np.uint8).reshape(-1, info.height, info.width, 3)
    assert len(all_frames) == info.num_frames
    ids = np.unique(np.random.default_rng(0).integers(0, len(all_frames), 8)).tolist()
    for i, frame in zip(ids, read_clip(path, ids).permute(0, 2, 3, 1).numpy().astype(int), strict=True):
        around = {
            j: np.abs(frame - all_frames[j]).mean() for j in range(i - 1, i + 2) if 0 <= j < len(all_frames)
        }
        assert around[i] <= 3, (path.name, i)
        assert all(
            np.array_equal(all_frames[i], all_frames[j]) or around[i] < around[j] for j in around if j != i
        )


@pytest.mark.parametrize("name", REAL)
def test_real_clips_against_a_full_decode(real_clips, name):
    path, reader = real_clips / name, open_reader("pyav")
    slow = slow_decode(path)
    info = reader.probe(path)
    assert info.num_frames == len(slow) == STATED[name]
    assert (info.height, info.width) == tuple(slow.shape[-2:])
    rng = np.random.default_rng(0)
    for count in (1, 4):
        ids = rng.integers(0, len(slow), count).tolist()
        assert torch.equal(reader.read(path, ids), slow[ids])
    assert torch.equal(reader.read(path, [len(slow) - 1, 0]), slow[[-1, 0]])


@pytest.mark.parametrize("name", REAL)
def test_real_clips_between_readers(real_clips, name):
    path = real_clips / name
    ids = [2, 0, 2, STATED[name] - 1, STATED[name] // 2]
    exact = read_clip(path, ids).float()
    refused = {"decord": ("av1_video.mkv", "h265_video.mp4", "test.avi"), "torchcodec": ("test.avi",)}
    for other in ("decord", "torchcodec") if torchcodec_loads() else ("decord",):
        if name in refused[other]:
            with pytest.raises(UnsupportedVideoError, match=r"use data.reader=pyav"):
                read_clip(path, ids, reader=other)
        else:
            clip = read_clip(path, ids, reader=other).float()
            assert (clip - exact).abs().mean(dim=(1, 2, 3)).max() < 3
