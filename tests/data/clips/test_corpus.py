"""The built-in corpus: what the pictures show is what the truth says, and the folder is whole or absent."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from worldjepa.data.clips import corpus, scenes
from worldjepa.data.clips.corpus import ensure_corpus, read_truth
from worldjepa.data.clips.scenes import MOTIONS, CorpusSettings, move, render

SMALL = CorpusSettings(train_videos=16, val_videos=8, frames=6, size=32)


def _frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return ensure_corpus(tmp_path_factory.mktemp("cache"), SMALL, processes=2)


def test_layout_is_a_class_a_folder_with_equal_shares(small):
    assert sorted(folder.name for folder in small.iterdir()) == ["corpus.json", "train", "val"]
    for split, each in (("train", 2), ("val", 1)):
        assert sorted(folder.name for folder in (small / split).iterdir()) == sorted(MOTIONS)
        for motion in MOTIONS:
            names = sorted(file.name for file in (small / split / motion).iterdir())
            assert names == sorted(f"{motion}_{i:05d}.{end}" for i in range(each) for end in ("mp4", "npz"))


def test_decoded_video_shows_the_rendered_frames_and_the_saved_truth(small):
    path = small / "val" / "grow" / "grow_00000.mp4"
    index = MOTIONS.index("grow")
    frames, truth = render("grow", SMALL, np.random.default_rng((SMALL.seed, 1, index)))
    decoded = _frames(path)
    assert decoded.shape == (6, 32, 32, 3)
    assert np.abs(decoded.astype(float) - frames).mean() < 12  # H.264 with halved colour planes
    saved = read_truth(path)
    assert saved.motion == "grow"
    for name in ("boxes", "centres", "masks"):
        np.testing.assert_array_equal(getattr(saved, name), getattr(truth, name))


def test_pixels_do_not_depend_on_the_number_of_processes_but_on_the_seed(small, tmp_path):
    again = ensure_corpus(tmp_path, SMALL, processes=1)
    assert again.name == small.name
    for path in sorted(small.glob("*/*/*.mp4")):
        np.testing.assert_array_equal(_frames(path), _frames(again / path.relative_to(small)))
    first, other = (render("grow", SMALL, np.random.default_rng((seed, 0, 0)))[0] for seed in (0, 1))
    assert not np.array_equal(first, other)


def test_a_second_call_renders_nothing(small, monkeypatch):
    monkeypatch.setattr(corpus, "_render_in_processes", lambda *_: pytest.fail("rendered again"))
    assert ensure_corpus(small.parent, SMALL) == small


def test_other_settings_get_another_folder_and_the_default_is_the_cache_of_the_user(tmp_path, monkeypatch):
    made = []

    def fake(folder, settings, processes):
        made.append(settings)

    monkeypatch.setattr(corpus, "_render_in_processes", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = ensure_corpus(settings=SMALL), ensure_corpus(settings=CorpusSettings(seed=1))
    assert one != two and one.parent == two.parent == tmp_path / "worldjepa"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert ensure_corpus(settings=SMALL).parent == tmp_path / "home" / ".cache" / "worldjepa"
    assert len(made) == 3


def test_what_a_killed_rendering_left_is_removed_and_never_used(small, tmp_path, caplog):
    left_over = tmp_path / f"{small.name}.partial-dead"
    (left_over / "train" / "grow").mkdir(parents=True)
    (left_over / "train" / "grow" / "grow_00000.mp4").write_bytes(b"half a file")
    with caplog.at_level(logging.WARNING):
        root = ensure_corpus(tmp_path, SMALL, processes=2)
    assert len(list(root.glob("train/*/*.mp4"))) == 16 and not left_over.exists()
    assert [r.getMessage() for r in caplog.records] == [
        f"rendering the built-in corpus, once: 24 videos of moving shapes into {root}"
    ]


def test_a_failed_rendering_says_why_and_leaves_no_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "asdict", lambda settings: {"nonsense": 1})
    with pytest.raises(RuntimeError, match="nonsense"):
        ensure_corpus(tmp_path, SMALL, processes=1)
    assert not [path for path in tmp_path.iterdir() if path.is_dir() and "partial" not in path.name]


def test_two_starts_at_once_render_once(tmp_path):
    code = (
        "import logging, sys; from pathlib import Path; from worldjepa.data.clips.corpus import *\n"
        "logging.basicConfig(format='%(message)s')\n"
        "settings = CorpusSettings(train_videos=8, val_videos=8, frames=4, size=32)\n"
        "print(ensure_corpus(Path(sys.argv[1]), settings, processes=1))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    starts = [subprocess.Popen(command, **pipes) for _ in range(2)]
    answers = [start.communicate(timeout=60) for start in starts]
    assert [start.returncode for start in starts] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert sum(err.count("rendering the built-in corpus") for _, err in answers) == 1
    assert len(list(Path(answers[0][0].strip()).glob("*/*/*.mp4"))) == 16


def test_importing_the_corpus_leaves_torch_alone():
    code = "import sys, worldjepa.data.clips.corpus; assert 'torch' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("settings", [CorpusSettings(size=50), CorpusSettings(frames=1)])
def test_settings_that_cannot_be_rendered_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match=r"expected a multiple of 8|2 frames or more"):
        ensure_corpus(tmp_path, settings)


# --- the truth and the label ----------------------------------------------------------------------


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_label_is_what_moves(motion):
    for seed in range(3):
        track = move(motion, 18, np.random.default_rng(seed))
        step, growth = np.diff(track.centre, axis=0), track.radius[-1] / track.radius[0]
        if motion in ("grow", "shrink"):
            np.testing.assert_allclose(step, 0, atol=1e-12)
            assert 2.5 < (growth if motion == "grow" else 1 / growth) < 3.5
            continue
        assert growth == 1
        if motion == "still":
            assert not step.any()
        elif motion == "jitter":
            assert 0.02 < np.abs(step).mean() < 0.1 and np.ptp(track.centre, axis=0).max() < 0.4
        else:
            axis = 0 if motion in ("slide_left", "slide_right") else 1
            np.testing.assert_allclose(step[:, 1 - axis], 0, atol=1e-12)
            sign = 1 if motion in ("slide_right", "slide_down") else -1
            assert 0.36 <= sign * step[:, axis].sum() <= 0.48


def test_size_angle_and_place_at_mid_time_do_not_tell_the_label():
    draws = {
        motion: [move(motion, 19, np.random.default_rng(seed)) for seed in range(200)] for motion in MOTIONS
    }
    for motion, tracks in draws.items():
        for track, still in zip(tracks, draws["still"], strict=True):
            if motion != "jitter":  # it draws its jumps in between
                assert track.radius[9] == pytest.approx(still.radius[9])
                assert track.angle[9] == pytest.approx(still.angle[9])
                np.testing.assert_allclose(track.centre[9], still.centre[9])
        places = np.stack([track.centre[9] for track in tracks])
        np.testing.assert_allclose(places.mean(axis=0), 0.5, atol=0.05)  # 200 draws of spread 0.18


def test_a_shape_that_has_left_has_an_empty_box():
    solid = np.zeros((1, 2, 8, 8), bool)
    solid[0, 1, 2:4, 2:4] = True
    truth = scenes._truth("still", solid, np.zeros((1, 2, 2), np.float32))
    assert truth.boxes[0].tolist() == [[0, 0, 0, 0], [2, 2, 4, 4]]


def test_boxes_and_masks_of_known_shapes():
    solid = np.zeros((2, 2, 8, 8), bool)  # two frames of two shapes, the second in front
    solid[0, 0, 1:4, 2:6] = True
    solid[0, 1, 3:5, 5:8] = True
    solid[1, 0, 7, 0] = solid[1, 1, 0, 7] = True
    truth = scenes._truth("grow", solid, np.zeros((2, 2, 2), np.float32))
    expected = [[[2, 1, 6, 4], [5, 3, 8, 5]], [[0, 7, 1, 8], [7, 0, 8, 1]]]
    np.testing.assert_array_equal(truth.boxes, expected)
    assert truth.masks[0, 0].sum() == 11  # of 12: one pixel is hidden by the other shape
    assert not truth.masks[0, 0, 3, 5]
    np.testing.assert_array_equal(truth.masks[:, 1], solid[:, 1])


def test_a_disc_covers_its_area_around_its_centre():
    track = scenes.Track(np.array([[0.25, 0.5]]), np.array([0.2]), np.zeros(1))
    rows, columns = np.nonzero(scenes._cover("disc", track, 80)[0] > 0.5)
    assert columns.mean() + 0.5 == pytest.approx(20, abs=0.05)
    assert rows.mean() + 0.5 == pytest.approx(40, abs=0.05)
    assert len(rows) == pytest.approx(np.pi * 16**2, rel=0.02)


def test_saved_masks_and_boxes_belong_to_the_picture():
    for seed, motion in enumerate(MOTIONS):
        _, truth = render(motion, CorpusSettings(), np.random.default_rng(seed))
        assert truth.boxes.min() >= 0 and truth.boxes.max() <= 80
        assert truth.masks.sum(axis=1).max() == 1  # a pixel shows one shape at most
        for f, o, y, x in np.argwhere(truth.masks)[::97]:
            x0, y0, x1, y1 = truth.boxes[f, o]
            assert x0 <= x < x1 and y0 <= y < y1


def test_a_mask_covers_the_pixels_of_one_colour():
    settings = CorpusSettings(frames=4)
    for seed in range(6):
        frames, truth = render("grow", settings, np.random.default_rng(seed))
        inside = frames[truth.masks[:, -1]].astype(float)
        spread = np.abs(inside - np.median(inside, axis=0)).max(axis=1)
        assert np.mean(spread < 3) > 0.6  # all but soft edges and specks on top


def test_shapes_are_as_often_lighter_as_darker_than_the_ground():
    rng = np.random.default_rng(0)
    grounds = rng.uniform(0.35, 0.65, (600, 3))
    lighter = [scenes.contrast(ground, rng).mean() > ground.mean() for ground in grounds]
    assert 0.44 < np.mean(lighter) < 0.56  # 600 fair draws: 0.5 +- 3 * 0.02
