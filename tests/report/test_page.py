"""``python -m worldjepa.report`` as a user starts it: whole runs, damaged ones, and hostile files."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from tests.runs import TINY, TINY_WORLD
from worldjepa.plan import main as plan
from worldjepa.report.__main__ import main
from worldjepa.report.elements import EMPTY
from worldjepa.train import main as train

EVIL = "<img src=x onerror=alert(1)>"


class Outline(HTMLParser):
    """Checks that elements are closed in order, and keeps headings and what the page would fetch."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.fetched: list[str] = []
        self.names: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.fetched += [str(value)[:30] for name, value in attrs if name in ("src", "href")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in EMPTY
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)


def looked_at(folder: Path) -> tuple[str, Outline]:
    """Return a run's page and its outline: whole, without scripts, and fetching nothing."""
    page = (folder / "report.html").read_text()
    found = Outline(page)
    assert found.open == []
    assert "script" not in found.names
    assert all(one.startswith(("data:", "#")) for one in found.fetched), found.fetched
    return page, found


@pytest.fixture(scope="session")
def video_run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a tiny encoder; return its run folder."""
    folder = tmp_path_factory.mktemp("runs") / "videos"
    assert train([*TINY, f"data.root={corpus}", f"run.dir={folder}"]) == 0
    return folder


@pytest.fixture
def videos(video_run: Path, tmp_path: Path) -> Path:
    """Return such a run folder of the test's own."""
    return Path(shutil.copytree(video_run, tmp_path / "videos"))


@pytest.fixture
def world(world_run: Path, tmp_path: Path) -> Path:
    """Return the folder of a tiny world model, of the test's own."""
    return Path(shutil.copytree(world_run, tmp_path / "world"))


def test_training_ends_with_the_page(video_run: Path):
    page, found = looked_at(video_run)
    wanted = ["Health", "Loss", "What it learnt", "Masks of the first step", "Tokens of held-out clips"]
    wanted += ["Predicted and true latents, masks future", "What the attentive probe looks at"]
    wanted += ["Nearest neighbours", "Settings", "To run it again"]
    assert set(wanted) <= set(found.headings)
    assert "Missing or damaged" not in found.headings
    assert page.count("data:video/mp4") == 2
    assert "model.encoder.dim=32" in page
    assert "Tried: on a CPU with this version the command gives exactly the settings of the run." in page


def test_a_world_model_with_plans(world: Path, capsys: pytest.CaptureFixture[str]):
    words = ["plan.success={position: 0.07}", "plan.goal_offset=6", "plan.budget=4", "plan.horizon=2"]
    few = [
        "plan.planner_settings={num_samples: 16, num_elites: 4, iterations: 2}",
        "plan.episodes=3",
        "plan.film=2",
    ]
    assert plan([f"run.dir={world}", *words, *few]) == 0
    page, found = looked_at(world)
    wanted = ["How far predictions hold", "Goal, imagined and real, failures first", "Real and imagined"]
    assert set(wanted) <= set(found.headings)
    assert "Missing or damaged" not in found.headings
    errors = json.loads((world / "dynamics.json").read_text())["rollout"]["predicted"]
    assert f"<td>{errors[0]:.3g}</td>" in page
    share = json.loads((world / "plan.json").read_text())["success_rate"]
    assert f"<b>{share:.1%}</b><span>goals reached by planning</span>" in page
    assert page.count("data:video/mp4") == 3 and "perfect model" in page
    capsys.readouterr()


def test_an_unmeasured_run_is_measured_for_the_page(world: Path):
    (world / "dynamics.json").unlink()
    assert main([f"run.dir={world}", "device=cpu"]) == 0
    page, _ = looked_at(world)
    assert "Measured for this page, on held-out episodes." in page


def test_a_run_without_a_latent_predictor(corpus: Path, tmp_path: Path):
    words = [*TINY, "objective=mae", f"data.root={corpus}", f"run.dir={tmp_path}", "train.steps=4"]
    assert train(words) == 0
    _, found = looked_at(tmp_path)
    assert "Tokens of held-out clips" in found.headings and "Missing or damaged" not in found.headings
    assert not any(heading.startswith("Predicted") for heading in found.headings)


@pytest.mark.slow
def test_image_prediction_and_iris(corpus: Path, world_run: Path, tmp_path: Path):
    images = [*TINY, "objective=ijepa", "masking=image", f"data.root={corpus}", "train.steps=4"]
    assert train([*images, f"run.dir={tmp_path / 'images'}"]) == 0
    assert any(heading.startswith("Predicted") for heading in looked_at(tmp_path / "images")[1].headings)
    kept = [
        word for word in TINY_WORLD if not word.startswith(("objective", "model.heads", "model.encoder.proj"))
    ]
    iris = [
        *kept,
        "objective=iris",
        f"data.root={world_run / 'episodes'}",
        "train.steps=4",
        "plan.episodes=0",
    ]
    assert train([*iris, f"run.dir={tmp_path / 'iris'}"]) == 0
    _, found = looked_at(tmp_path / "iris")
    assert {"Real and imagined", "Predicted and true latents"} <= set(found.headings)
    assert "Missing or damaged" not in found.headings


# --- what is missing, damaged or hostile ---------------------------------------------------------


def missing(page: str) -> str:
    """Return the text of what is missing or damaged."""
    return page.partition('id="missing"')[2].partition("</section>")[0]


def test_a_damaged_run_says_what_is_missing(videos: Path):
    (videos / "labels.json").write_text('{"trained": {"linear": "much"}}')
    (videos / "evaluation.json").write_text('{"checkpoint": "a", "probes": {"linear": {"rows": 3}}}')
    (videos / "plan.json").write_text("{")
    (videos / "config.yaml").write_text("seed: [")
    for weights in videos.glob("checkpoints/*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:100])
    assert main([f"run.dir={videos}", "device=cpu"]) == 0
    page, found = looked_at(videos)
    said = missing(page)
    for words in (
        "labels.json does not",
        "evaluation.json does not",
        "plan.json is left out",
        "config.yaml cannot",
    ):
        assert words in said
    assert "no pictures of what the model sees" in said
    assert {"Health", "Loss", "Latents, as drawn while it trained"} <= set(found.headings)


def test_a_run_whose_videos_have_gone(videos: Path, tmp_path: Path):
    config = yaml.safe_load((videos / "config.yaml").read_text())
    config["data"]["root"] = str(tmp_path / "gone")
    (videos / "config.yaml").write_text(yaml.safe_dump(config))
    assert main([f"run.dir={videos}", "device=cpu"]) == 0
    page, found = looked_at(videos)
    assert "gone" in missing(page) and "Masks of the first step" in found.headings


def test_too_few_clips_for_a_probe_still_have_neighbours(corpus: Path, tmp_path: Path):
    """One of ten labelled clips cannot be read: nine are too few to fit a probe to, and only for that."""
    clips, folder = tmp_path / "clips", tmp_path / "run"
    for part, count in (("train", 5), ("val", 2)):
        for label in ("grow", "still"):
            (clips / part / label).mkdir(parents=True)
            files = sorted(corpus.glob(f"*/{label}/*.mp4")) * count
            for index in range(count):
                shutil.copy(files[index], clips / part / label / f"{index}.mp4")
    assert train([*TINY, f"data.root={clips}", f"run.dir={folder}"]) == 0
    (clips / "train" / "still" / "0.mp4").write_bytes(b"no video")
    assert main([f"run.dir={folder}"]) == 0
    page = (folder / "report.html").read_text()
    assert "No attention of a probe: heads are fitted to 10 clips or more, got 9." in page
    assert "Nearest neighbours</h3>" in page and "Missing or damaged" not in page


def test_a_run_that_has_only_begun(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("experiment: kinetics\ntrain: {steps: 100}\n")
    assert main([f"run.dir={tmp_path}"]) == 0
    page, _ = looked_at(tmp_path)
    assert "nothing was logged yet" in missing(page) and "<b>0 of 100</b>" in page


def test_nothing_of_a_file_becomes_markup(videos: Path):
    """Every text and every name of every file is hostile."""
    config = yaml.safe_load((videos / "config.yaml").read_text())
    config["data"]["val_root"] = config["env"]["id"] = EVIL
    config["env"]["kwargs"] = {EVIL: EVIL}
    config["experiment"] = EVIL
    (videos / "config.yaml").write_text(yaml.safe_dump(config))
    (videos / "environment.json").write_text(json.dumps({EVIL: EVIL}))
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    probe = {
        "title": EVIL,
        "note": EVIL,
        "rows": {EVIL: {EVIL: figure}},
        "curves": {EVIL: {EVIL: [1.0, 2.0]}},
    }
    found = {"checkpoint": EVIL, "probes": {"surprise": probe}}
    (videos / "evaluation.json").write_text(json.dumps(found))
    lines = [{"step": step, "loss": 1.0, EVIL: 2.0} for step in (1, 2)]
    (videos / "metrics.jsonl").write_text("\n".join(map(json.dumps, [*lines, EVIL])))
    hostile = videos.rename(videos.with_name("<b>run"))
    assert main([f"run.dir={hostile}", "device=cpu"]) == 0
    page, outline = looked_at(hostile)
    assert EVIL not in page and "<b>run" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") > 10
    assert EVIL in "".join(outline.headings)


def test_a_film_too_large_stays_beside_the_page(world: Path, monkeypatch: pytest.MonkeyPatch):
    from worldjepa.report import results

    monkeypatch.setattr(results, "MOST_FILM", 3)
    (world / "plan.mp4").write_bytes(b"film")
    (world / "real.png").write_bytes(b"elsewhere")
    (world / "plan.png").symlink_to(world / "real.png")
    part = {"success_rate": 1.0, "wilson_low": 0.5, "wilson_high": 1.0, "episodes": 1, "groups": {}}
    about = {"protocol": "a", "goals": "b", "budget": 3, "begun_at_goal": 0, "drawn": 1, "not_reproduced": 0}
    rest = {"steps_to_goal": 2, "beside": {}, "offsets": {}, "seeds": {}, "checkpoint": "c", "env": "e"}
    found = part | about | rest | {"success": "s", "settings": {}}
    markup = results.planning(found, world)
    assert '<a href="plan.mp4">plan.mp4</a>' in markup
    assert not re.search("<img|<video", markup)  # nor is a link to elsewhere followed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "run.dir=null: expected the folder of a run"),
        (["run.dir=nowhere"], "run.dir=nowhere: there is no such folder"),
        (["run.dir=HERE"], "no run was trained there"),
        (["run.dir=HERE", "clips=0"], "clips=0: expected 1 or more"),
        (["run.dir=HERE", "clip=3"], "clip: there is no such setting; did you mean clips?"),
        (["run.dir=HERE", "device=tpu"], "device=tpu"),
    ],
)
def test_mistakes_are_answered_in_one_line(words: list[str], said: str, tmp_path: Path, capsys):
    assert main([word.replace("HERE", str(tmp_path)) for word in words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("worldjepa.report: ") and error.count("\n") == 1


def test_help_and_cfg(capsys):
    assert main(["--help"]) == 0
    assert "clips=256" in capsys.readouterr().out
    assert main(["run.dir=a", "clips=3", "--cfg"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == {"run": {"dir": "a"}, "device": "auto", "clips": 3}
