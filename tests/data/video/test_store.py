"""A prepared store: the originals' frames by number and time, and the same bytes however it came about."""

import json
import os
import pickle
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.made_clips import make_video, numbers
from worldjepa.data.job_pool import Lost
from worldjepa.data.video import store_writer
from worldjepa.data.video.index_arrays import unpack
from worldjepa.data.video.reader import BadVideoError, open_reader
from worldjepa.data.video.reader_pyav import PyavReader
from worldjepa.data.video.store_encoder import Order, Recipe, store_video
from worldjepa.data.video.store_format import (
    DamagedStoreError,
    StoreError,
    StoreFolder,
    is_store,
    walk_records,
)
from worldjepa.data.video.store_reader import StoreReader
from worldjepa.data.video.store_writer import SourceVideo, prepare_store, verify_store

RECIPE = Recipe(size=48, raw=False, gop=4, crf=20, preset="ultrafast", max_share=None)
RAW = replace(RECIPE, raw=True)
SHARD = 5_000


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[SourceVideo]:
    """Plain, turned, of variable rate, one of a single frame, and a bad one."""
    root = tmp_path_factory.mktemp("videos")
    stamps = [40 * i + (i % 3) * 7 for i in range(30)]
    made = [
        make_video(root / "a.mp4", count=50),
        make_video(root / "b.mp4", count=21, rotation=90),
        make_video(root / "c.mkv", count=30, stamps=stamps),
        make_video(root / "d.mp4", count=1),
    ]
    (root / "bad.mp4").write_text("<html>" * 50)
    labels = ["run", "run", "sit", None, "sit"]
    return [
        SourceVideo(str(path), path.name, label, "train")
        for path, label in zip([*made, root / "bad.mp4"], labels, strict=True)
    ]


@pytest.fixture(scope="module", autouse=True)
def here():
    """Do the jobs in this process, except where a test is about processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_writer, "run_jobs", lambda function, jobs, **_: map(store_video, jobs))
        yield


def write(videos, out: Path, recipe: Recipe = RECIPE):
    out.mkdir(exist_ok=True)
    return prepare_store(videos, out, recipe, shard_bytes=SHARD, processes=1, timeout_s=60)


@pytest.fixture(scope="module")
def store(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("encoded")
    write(videos, out)
    return out


@pytest.fixture(scope="module")
def raw(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("raw")
    write(videos, out, RAW)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["store", "raw"])
def test_frames_have_the_numbers_times_and_pictures_of_the_originals(kind, videos, request):
    root = request.getfixturevalue(kind)
    reader, original = StoreReader(root), PyavReader()
    for video in videos[:4]:
        path, info = root / video.name, original.probe(video.path)
        found = reader.probe(path)
        assert np.array_equal(found.timestamps, info.timestamps) and found.num_frames == info.num_frames
        assert (found.height, found.width) == (info.height, info.width)
        wanted = random.Random(0).choices(range(info.num_frames), k=40)
        frames, expected = reader.read(path, wanted), original.read(video.path, wanted)
        assert frames.shape == expected.shape
        away = (frames.float() - expected.float()).abs().mean(dim=(1, 2, 3))
        assert away.max() < (1e-6 if kind == "raw" else 4), video.name
        if info.width == 128:
            assert numbers(frames) == wanted


@pytest.mark.parametrize("kind", ["store", "raw"])
def test_every_order_of_frames_and_size_gives_the_same_frames(kind, videos, request):
    """Frame by frame with a new reader each time is the reference for what one reader does in one call."""
    root = request.getfixturevalue(kind)
    reader, path = StoreReader(root), root / "a.mp4"
    single = torch.cat([StoreReader(root).read(path, [i]) for i in range(50)])
    for wanted in ([0, 4, 8], [3, 7, 11, 15], [49, 2, 2, 30], list(range(50)), [5], [49] * 3, [40, 44, 49]):
        assert torch.equal(reader.read(path, wanted), single[wanted])
    assert reader.read(path, [7], size=24).shape == (1, 3, 24, 64)
    assert reader.read(path, [7], size=(20, 10)).shape == (1, 3, 20, 10)
    with pytest.raises(ValueError, match="index 50 lies outside"):
        reader.read(path, [50])


def test_bad_files_keep_their_reasons(store, videos):
    with pytest.raises(BadVideoError) as original:
        open_reader("pyav").probe(videos[4].path)
    with pytest.raises(BadVideoError) as stored:
        StoreReader(store).probe(store / "bad.mp4")
    assert str(stored.value).partition(": ")[2] == str(original.value).partition(": ")[2]
    with pytest.raises(BadVideoError, match="is not in the store"):
        StoreReader(store).probe(store / "other.mp4")


def test_the_store_says_what_it_holds(store, videos):
    folder = StoreFolder(store)
    figures = folder.manifest["figures"]
    assert list(folder.videos) == [video.name for video in videos]
    assert [video.label for video in folder.videos.values()] == ["run", "run", "sit", None, "sit"]
    assert (figures["videos"], figures["bad"], figures["frames"]) == (5, 1, 50 + 21 + 30 + 1)
    assert figures["source_bytes"] == sum(os.path.getsize(video.path) for video in videos[:4])
    assert figures["crf"] == {"20": 4} and figures["lowered"] == 0
    assert figures["bytes"] == sum(
        path.stat().st_size for path in store.iterdir() if path.name != "manifest.json"
    )


def test_the_reader_travels_to_other_processes(store):
    reader = StoreReader(store)
    before = reader.read(store / "a.mp4", [5, 9])
    assert torch.equal(pickle.loads(pickle.dumps(reader)).read(store / "a.mp4", [5, 9]), before)


# --- size and quality -----------------------------------------------------------------------------


def facts_of(block: bytes) -> dict:
    return unpack(block)[0]


def test_quality_is_lowered_until_a_video_fits(videos, tmp_path):
    size = os.path.getsize(videos[0].path)
    write(videos[:1], tmp_path / "free", replace(RECIPE, crf=1))
    write(videos[:1], tmp_path / "bound", replace(RECIPE, crf=1, max_share=1.0))
    write(videos[:1], tmp_path / "tiny", replace(RECIPE, crf=1, max_share=0.01))
    free, bound, tiny = (
        StoreFolder(tmp_path / name).manifest["figures"] for name in ("free", "bound", "tiny")
    )
    assert free["bytes"] > size and free["lowered"] == 0
    assert bound["bytes"] <= size + 300 and bound["lowered"] == 1 and bound["larger"] == 0
    assert tiny["crf"] == {"51": 1} and (tiny["lowered"], tiny["larger"]) == (1, 1)


def test_videos_are_never_enlarged_and_sides_are_even(tmp_path):
    path = make_video(tmp_path / "v.mp4", count=4)  # 128 x 48
    for size, shape in ((100, (48, 128)), (17, (16, 44)), (24, (24, 64))):
        record = store_video(Order(str(path), {"name": "v"}, replace(RECIPE, size=size)))
        (tmp_path / "record").write_bytes(record)
        with open(tmp_path / "record", "rb") as file:
            [(_, block)] = walk_records(file)
        assert (facts_of(block)["height"], facts_of(block)["width"]) == shape


def test_a_group_is_decodable_from_its_first_packet(store):
    """No frame of a later group needs an earlier one: the last group alone gives what the whole gives."""
    path = store / "a.mp4"
    whole = StoreReader(store).read(path, range(50))
    assert torch.equal(StoreReader(store).read(path, [48, 49]), whole[48:])


# --- interrupted and damaged ----------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [RECIPE, RAW], ids=["encoded", "raw"])
def test_a_store_cut_off_anywhere_goes_on_to_the_same_bytes(recipe, videos, tmp_path, store, raw):
    """Whatever shards and part of a shard a killed writer left, the rest is written as it would have been."""
    whole = contents(raw if recipe.raw else store)
    shards = sorted(name for name in whole if name.startswith("shard"))
    assert len(shards) > 1
    rng = random.Random(0)
    for number in range(6):
        out = tmp_path / str(number)
        out.mkdir()
        (out / "settings.json").write_bytes(whole["settings.json"])
        done = rng.randrange(len(shards))
        for name in shards[:done]:
            (out / name).write_bytes(whole[name])
        torn = bytearray(whole[shards[done]][: rng.randrange(len(whole[shards[done]]))])
        if number % 2:  # a power cut may leave zeros where data was on its way
            torn += bytes(5000)
        (out / "shard.partial").write_bytes(torn)
        write(videos, out, recipe)
        assert contents(out) == whole


def test_payload_lost_in_a_power_cut_is_written_again(videos, tmp_path, store):
    whole = contents(store)
    out = tmp_path / "out"
    out.mkdir()
    (out / "settings.json").write_bytes(whole["settings.json"])
    torn = bytearray(whole["shard-00000.bin"])
    torn[-2000:] = bytes(2000)
    (out / "shard.partial").write_bytes(torn)
    write(videos, out)
    assert contents(out) == whole


def test_a_video_whose_process_dies_is_recorded_as_bad(videos, tmp_path, monkeypatch):
    lost = Lost("the process that read it died of SIGSEGV")
    monkeypatch.setattr(store_writer, "run_jobs", lambda function, jobs, **_: [lost] * len(jobs))
    write(videos[:2], tmp_path / "out")
    with pytest.raises(BadVideoError, match="died of SIGSEGV"):
        StoreReader(tmp_path / "out").probe(tmp_path / "out" / "a.mp4")


def test_other_settings_files_and_folders_are_refused_by_name(videos, tmp_path, store):
    out = tmp_path / "store"
    shutil.copytree(store, out)
    with pytest.raises(StoreError, match="was begun with crf=20, not 30"):
        write(videos, out, replace(RECIPE, crf=30))
    with pytest.raises(StoreError, match="another list of files"):
        write(videos[1:], out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(StoreError, match=r"holds other files \(thesis.txt"):
        write(videos, tmp_path / "mine")
    before = contents(out)
    write(videos, out)  # finished: nothing is done
    assert contents(out) == before


def test_an_unfinished_store_is_recognised_and_refused(tmp_path, store):
    out = tmp_path / "store"
    shutil.copytree(store, out)
    (out / "manifest.json").unlink()
    assert is_store(out) and not is_store(tmp_path)
    with pytest.raises(StoreError, match="is not finished"):
        StoreReader(out)
    manifest = json.loads((store / "manifest.json").read_text()) | {"prepared_store": 99}
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="another version"):
        StoreReader(out)


@pytest.mark.parametrize("kind", ["store", "raw"])
def test_a_damaged_shard_is_refused_by_name(kind, tmp_path, request):
    out = tmp_path / "store"
    shutil.copytree(request.getfixturevalue(kind), out)
    assert verify_store(out) == []
    video = StoreFolder(out).videos["a.mp4"]
    shard = out / f"shard-{video.shard:05d}.bin"
    data = bytearray(shard.read_bytes())
    data[video.offset + 16 + video.block + video.payload // 2] ^= 4
    shard.write_bytes(data)
    reader = StoreReader(out)
    with pytest.raises(DamagedStoreError, match=rf"{shard.name} is damaged: a checksum at byte \d+"):
        reader.read(out / "a.mp4", range(50))
    assert reader.read(out / "a.mp4", [0, 1]).shape[0] == 2, "what is sound can still be read"
    assert verify_store(out) == [f"{shard} is not what was written: its sha256 sum is another"]
    shard.write_bytes(data[:-1])
    with pytest.raises(DamagedStoreError, match=rf"has {len(data) - 1} bytes, {len(data)} were written"):
        StoreReader(out).probe(out / "a.mp4")
    shard.unlink()
    with pytest.raises(DamagedStoreError, match="No such file"):
        StoreReader(out).probe(out / "a.mp4")
    with pytest.raises(DamagedStoreError) as said:
        StoreReader(out).read(out / "a.mp4", [0])
    assert str(said.value).count("is damaged") == str(said.value).count("prepare.verify=true") == 1
    assert verify_store(out) == [f"{shard} is missing"]


@pytest.mark.parametrize("name", ["manifest.json", "videos.jsonl"])
@pytest.mark.parametrize("content", [b"gar\xffbage", b"{}", b"[3", None])
def test_damaged_lists_are_refused_and_written_anew_by_preparing(name, content, videos, tmp_path, store):
    out = tmp_path / "store"
    shutil.copytree(store, out)
    (out / name).unlink()
    if content is not None:
        (out / name).write_bytes(content)
    unfinished = name == "manifest.json" and content is None
    said = (
        "is not finished; give the command" if unfinished else rf"{name} is damaged \(.*\); prepare it anew"
    )
    with pytest.raises(StoreError, match=said):
        StoreReader(out)
    write(videos, out)
    assert contents(out) == contents(store) and verify_store(out) == []


def test_a_cut_shard_ends_preparing_with_what_to_delete(videos, tmp_path, store):
    out = tmp_path / "store"
    shutil.copytree(store, out)
    (out / "manifest.json").write_text("garbage")
    shard = out / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(StoreError, match=rf"{shard.name} is damaged; delete {out} and give the same command"):
        write(videos, out)


def test_damage_in_a_records_facts_is_noticed(tmp_path, store):
    out = tmp_path / "store"
    shutil.copytree(store, out)
    video = StoreFolder(out).videos["c.mkv"]
    shard = out / f"shard-{video.shard:05d}.bin"
    data = bytearray(shard.read_bytes())
    data[video.offset + 16 + video.block - 3] ^= 4
    shard.write_bytes(data)
    with pytest.raises(DamagedStoreError, match="its checksum is wrong"):
        StoreReader(out).probe(out / "c.mkv")
