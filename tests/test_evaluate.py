"""``python -m worldjepa.evaluate`` as a user starts it, on tiny runs."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.runs import TINY
from worldjepa.evaluate import main
from worldjepa.settings.commands import compose_evaluation
from worldjepa.settings.evaluation import PROBES, QUICK
from worldjepa.settings.schema import ConfigError
from worldjepa.train import main as train

FEW = [
    "eval.twins=3",
    "eval.epochs=1",
    "eval.dense_epochs=1",
    "eval.dense_lrs=[0.01]",
    "eval.lrs=[0.01]",
    "eval.weight_decays=[0.1]",
    "eval.depth=2",
]


@pytest.fixture(scope="session")
def video_run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny encoder on a tiny corpus; return its run folder."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert train([*TINY, f"data.root={corpus}", f"run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def run(video_run: Path, tmp_path: Path) -> Path:
    """Return a run folder of the test's own."""
    return Path(shutil.copytree(video_run, tmp_path / "run"))


def found(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


# --- settings ------------------------------------------------------------------------------------


def test_probes_are_one_name_a_list_or_a_set(video_run: Path):
    asked = lambda *words: compose_evaluation([f"run.dir={video_run}", *words])[0].probes  # noqa: E731
    assert asked() == QUICK and asked("probe=all") == PROBES
    assert asked("probe=attentive") == ("attentive",)
    assert asked("probe=[knn, linear,knn]") == ("knn", "linear")
    assert asked("probe=[attentive,quick,knn]") == ("attentive", *QUICK)
    for word, said in {
        "probe=linaer": "did you mean linear",
        "probe=[]": "expected one or more of linear",
        "eval.beside=[raws]": "did you mean raw",
        "eval.lrs=[0]": "eval.lrs=0.0: expected more than 0",
        "eval.crops=0": "1 or more",
    }.items():
        with pytest.raises(ConfigError, match=said):
            asked(word)
    with pytest.raises(ConfigError, match=r"data\.val_root=clips: expected data.root beside it"):
        asked("data.val_root=clips")
    with pytest.raises(ConfigError, match="no run is named"):
        compose_evaluation(["probe=knn"])


def test_help_and_settings_are_shown_without_a_model(video_run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0 and "probe=NAME" in capsys.readouterr().out
    assert main([f"run.dir={video_run}", "probe=knn", "--cfg"]) == 0
    assert "probe: knn" in capsys.readouterr().out


# --- every probe ---------------------------------------------------------------------------------


def test_every_probe_says_and_stores_what_it_found(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main([f"run.dir={run}", "probe=all", *FEW]) == 0
    said, result = capsys.readouterr().out, found(run)
    assert list(result["probes"]) == list(PROBES)
    for name in PROBES:
        assert result["probes"][name]["title"] in said
    encoders = ["target encoder", "context encoder", "untrained encoder", "raw patches"]
    for name, others in {
        "linear": ["chance"],
        "knn": ["chance"],
        "attentive": ["chance"],
        "regression": [],
        "segmentation": ["all background"],
        "detection": [],
    }.items():
        assert list(result["probes"][name]["rows"]) == encoders + others, name
    linear = result["probes"]["linear"]["rows"]
    assert linear["chance"]["accuracy"]["value"] == 1 / 8  # 8 held-out clips, one a class
    figure = linear["target encoder"]["accuracy"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    surprise = result["probes"]["surprise"]
    assert list(surprise["rows"]) == ["surprise", "untrained", "pixel differences"]
    assert list(surprise["rows"]["pixel differences"]) == ["vanish", "teleport", "wall", "all", "twins"]
    curve = surprise["curves"]["vanish"]["impossible"]
    assert curve[0] is None and all(value > 0 for value in curve if value is not None)


def test_views_are_averaged_and_other_probes_are_kept(run: Path):
    assert main([f"run.dir={run}", "probe=knn", "eval.beside=[]"]) == 0
    assert main([f"run.dir={run}", "probe=linear", "eval.segments=2", "eval.crops=2", "eval.beside=[]"]) == 0
    probes = found(run)["probes"]
    assert list(probes) == ["knn", "linear"]
    assert (
        "4 views of a clip averaged" in probes["linear"]["note"]
        and "8 to judge by" in probes["linear"]["title"]
    )


def test_what_cannot_be_probed_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, file in enumerate(sorted(Path(json_root(run)).glob("train/*/*.mp4"))[:4]):
        shutil.copy(file, flat / f"{index}.mp4")
    assert main([f"run.dir={run}", "probe=linear", f"data.root={flat}"]) == 2
    assert "no training file has a label" in capsys.readouterr().err
    inner = tmp_path / "cifar-10-batches-py"
    inner.mkdir()
    assert main([f"run.dir={run}", "probe=linear", f"data.root={inner}"]) == 2
    assert "name the folder that holds cifar-10-batches-py" in capsys.readouterr().err
    assert main([f"run.dir={tmp_path}", "probe=linear"]) == 2
    assert "no run was trained there" in capsys.readouterr().err


def test_what_few_clips_without_truth_allow_is_probed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    clips = tmp_path / "clips"
    for label in ("grow", "still"):
        for part, count in (("train", 3), ("val", 1)):
            folder = clips / part / label
            folder.mkdir(parents=True)
            for index, file in enumerate(sorted(Path(json_root(run)).glob(f"*/{label}/*.mp4"))[:count]):
                shutil.copy(file, folder / f"{index}.mp4")
    assert main([f"run.dir={run}", "probe=all", f"data.root={clips}"]) == 0
    said, probes = capsys.readouterr().out, found(run)["probes"]
    assert list(probes) == ["linear", "knn", "gauges", "anticipation"]
    assert "no attentive: heads are fitted to 10 clips or more, got 6" in said
    assert "vote of the 6 nearest" in probes["knn"]["note"]
    assert probes["gauges"]["note"].startswith("of 2 clips") and "LiDAR: 1 to 2;" in probes["gauges"]["note"]
    assert all(probe["note"].endswith(f"data.root={clips}") for probe in probes.values())
    for name in ("segmentation", "detection", "regression", "surprise"):
        assert f"no {name}: true masks, boxes and states are known of the built-in corpus" in said
        assert main([f"run.dir={run}", f"probe={name}", f"data.root={clips}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("left", ['{"checkpoint": "step', "[]", "{}"])
def test_what_a_damaged_evaluation_left_is_written_anew(left: str, run: Path):
    (run / "evaluation.json").write_text(left)
    assert main([f"run.dir={run}", "probe=knn", "eval.beside=[]"]) == 0
    assert list(found(run)["probes"]) == ["knn"]


def test_an_unfinished_run_is_said_to_be(run: Path, capsys: pytest.CaptureFixture[str]):
    config = run / "config.yaml"
    config.write_text(re.sub(r"(?m)^(  steps:) \d+", r"\1 1000", config.read_text(), count=1))
    assert main([f"run.dir={run}", "probe=knn", "eval.beside=[]"]) == 0
    assert "training is unfinished: " in capsys.readouterr().out


def json_root(run: Path) -> str:
    return compose_evaluation([f"run.dir={run}"])[1].data.root or ""


def test_images_are_probed_by_a_video_encoder(run: Path, tmp_path: Path):
    from PIL import Image

    for part, count in (("train", 8), ("val", 4)):
        for colour in ("red", "blue"):
            folder = tmp_path / "images" / part / colour
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (40, 36), colour).save(folder / f"{index}.png")
    assert main([f"run.dir={run}", "probe=linear", f"data.root={tmp_path / 'images'}"]) == 0
    rows = found(run)["probes"]["linear"]["rows"]
    assert rows["raw patches"]["accuracy"]["value"] == 1.0


# --- world models --------------------------------------------------------------------------------


def test_a_world_models_state_and_gauges(world_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = Path(shutil.copytree(world_run, tmp_path / "run"))
    assert main([f"run.dir={run}", "probe=[regression,gauges]"]) == 0
    probes = found(run)["probes"]
    assert list(probes["regression"]["rows"]["encoder"]) == ["position.0", "position.1"]
    assert 1 <= probes["gauges"]["rows"]["encoder"]["RankMe"]["value"] <= 8
    assert main([f"run.dir={run}", "probe=regression", "eval.clips=10"]) == 0
    assert "True state: 10 observations to fit to" in capsys.readouterr().out
    assert main([f"run.dir={run}", "probe=linear"]) == 2
    assert "makes no sense for a world model" in capsys.readouterr().err
    assert main([f"run.dir={run}"]) == 0  # what makes none is left out, and said so
    assert "of quick probes regression, gauges\n" in capsys.readouterr().out


@pytest.mark.slow
def test_real_clips_are_probed(run: Path, real_clips: Path, tmp_path: Path):
    for part, names in (("train", 3), ("val", 3)):
        for label, clip in (("wrestling", "arm_wrestling.mp4"), ("pancake", "flipping_a_pancake.mkv")):
            folder = tmp_path / "real" / part / label
            folder.mkdir(parents=True)
            for index in range(names):
                shutil.copy(real_clips / clip, folder / f"{index}{Path(clip).suffix}")
    words = [f"run.dir={run}", f"data.root={tmp_path / 'real'}", "eval.segments=2", *FEW]
    assert main([*words, "probe=[linear,knn,anticipation,gauges]"]) == 0
    assert found(run)["probes"]["knn"]["rows"]["raw patches"]["accuracy"]["value"] == 1.0
