"""The documentation: its site builds without a warning, and what stands on its pages is so."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.made_episodes import made_store
from tests.doc_blocks import ROOT, WORDS, Reader, blocks_of
from tests.model.foreign import published
from worldjepa import load

DOCS = ROOT / "docs"
# these say how the project is built: no code to type in
INSIDE = ("architecture.md", "decisions.md")
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name not in INSIDE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(ROOT / "mkdocs.yml")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # the theme's advertisement of its successor
    done = subprocess.run(
        [*command, "-d", str(folder)], env=quiet, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """Train what pages take as given: an encoder of videos and a world model of two rooms."""
    from worldjepa.train import main

    folder = tmp_path_factory.mktemp("runs")
    mine = ["+experiment=kinetics", *WORDS["VIDEO"], f"data.root={corpus}", f"run.dir={folder / 'mine'}"]
    rooms = ["+experiment=two_rooms", *WORDS["WORLD"], f"run.dir={folder / 'two_rooms'}", "plan.episodes=0"]
    assert main(mine) == 0 and main(rooms) == 0
    return folder


@pytest.fixture
def reader(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Reader:
    """Sit down in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as python -m does
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def printed() -> str:
        logged = "\n".join(caplog.messages)
        caplog.clear()
        return logged + "\n" + "".join(capsys.readouterr())

    frames = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8)
    return Reader(printed, {"frames": frames, "actions": torch.zeros(2, 7, 10)})


def follow(page: str, reader: Reader) -> None:
    """Do all that a page says."""
    for block in blocks_of(DOCS / page):
        reader.follow(block)


def lay_out(folder: Path, *things: Path) -> None:
    """Put links to ``things`` into ``folder``."""
    folder.mkdir(exist_ok=True)
    for thing in things:
        (folder / thing.name).symlink_to(thing)


def test_the_first_page(reader: Reader, runs: Path, corpus: Path):
    Path("videos").symlink_to(corpus)
    lay_out(Path("runs"), runs / "two_rooms")
    follow("index.md", reader)
    assert reader.names["futures"].shape[:3] == (2, 100, 7)
    torch.testing.assert_close(reader.names["futures"][:, 3], reader.names["future"])


def test_pretraining(reader: Reader, corpus: Path):
    shutil.copytree(corpus, "videos")
    torn = next(Path("videos/train").rglob("*.mp4"))
    torn.write_bytes(torn.read_bytes()[:500])
    Path("video.mp4").symlink_to(next(corpus.rglob("*.mp4")))
    follow("pretraining.md", reader)
    assert reader.names["clip"].shape == (1, 32)
    assert "patch_size: 8" in Path("runs/ours/config.yaml").read_text()


def test_robot_data(reader: Reader, runs: Path):
    lay_out(Path("runs"), runs / "mine")
    follow("robot_data.md", reader)
    arm, mine = load("runs/arm"), load("runs/mine")
    assert arm.action_stats is not None
    assert arm.predictor is not None and arm.predictor.action_dim == 14  # 7 joints, 2 steps a block
    assert mine.target_encoder is not None
    frozen = load("runs/arm_frozen").encoder.state_dict()
    for name, tensor in mine.target_encoder.state_dict().items():
        assert torch.equal(frozen[f"backbone.{name}"], tensor), name


def test_planning(reader: Reader, runs: Path, tmp_path: Path):
    shutil.copytree(runs / "two_rooms", tmp_path / "runs" / "two_rooms")  # what is judged is written there
    follow("planning.md", reader)
    plan = reader.names["plan"]
    assert plan.elite_cost[0, -1] <= plan.elite_cost[0, 0]


def test_report(reader: Reader, runs: Path, tmp_path: Path):
    shutil.copytree(runs / "mine", tmp_path / "runs" / "mine")
    follow("report.md", reader)
    assert Path("runs/mine/report.html").exists() and Path("tokens.mp4").exists()
    assert reader.names["ids"].shape == (2, 3)


def test_agents(reader: Reader):
    follow("agents.md", reader)
    assert reader.names["policy"].weight.grad.abs().max() > 0


def published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write small random weights as others publish them, one of them on a hub that is a folder."""
    import huggingface_hub
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "pred_num_hidden_layers": 1,
    }
    sizes |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "patch_size": 8, "crop_size": 16}
    transformers.VJEPA2Model(transformers.VJEPA2Config(**sizes)).save_pretrained("hub")
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *about, **settings: str(Path("hub").resolve())
    )
    parts = {
        "target_encoder": published.draw(published.encoder_shapes(24, 2)),
        "predictor": published.draw(published.predictor_shapes(24, 24, 1, mask_tokens=10)),
    }
    wrapped = {name: published.wrapped(tensors) for name, tensors in parts.items()}
    torch.save(wrapped | {"encoder": wrapped["target_encoder"]}, "vitl.pt")
    torch.save({"target_encoder": wrapped["target_encoder"]}, "encoder.pt")


def test_weights(reader: Reader, runs: Path, monkeypatch: pytest.MonkeyPatch):
    lay_out(Path("runs"), runs / "mine")
    made_store(Path("robot"), [8, 9, 7, 8])
    published_weights(monkeypatch)
    follow("weights.md", reader)
    predictor = load("runs/ac").predictor
    assert predictor is not None and predictor.conditioning == "tokens"


@pytest.mark.slow  # writing ONNX files takes long, and tests/export runs the page's long block
def test_on_a_robot(reader: Reader, runs: Path):
    lay_out(Path("runs"), runs / "two_rooms", runs / "mine")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    reader.names |= {"observation": pictures[0], "goal_image": pictures[1]}
    follow("export.md", reader)
    assert reader.names["best"].shape == (10,)


def test_every_page_is_read_here():
    read = set(re.findall(r"follow\(\"(\w+\.md)\"", Path(__file__).read_text(encoding="utf-8")))
    assert read == {page for page in PAGES if blocks_of(DOCS / page)}


def test_the_site_needs_nothing_from_elsewhere(site: Path):
    """No font, script, style or picture comes from another host."""
    pages = list(site.rglob("*.html"))
    assert {path.name for path in pages} >= {page.replace(".md", ".html") for page in PAGES}
    for path in pages:
        html = path.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?(\w+:)?//", html)
        fetched += re.findall(
            r"<link[^>]* rel=\"?(?:stylesheet|preconnect|preload)[^>]* href=\"?(?:\w+:)?//", html
        )
        assert not fetched, f"{path}: {fetched}"
    for path in [*site.rglob("*.css"), *site.rglob("*.html")]:
        assert not re.search(r"url\(\W*(\w+:)?//|@import", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "module", ["worldjepa", "worldjepa.data", "worldjepa.planning", "worldjepa.imagination"]
)
def test_public_names_are_in_the_reference(module: str):
    listed = set(re.findall(r"^::: [\w.]+\.(\w+)$", (DOCS / "reference.md").read_text("utf-8"), re.MULTILINE))
    public = {name for name in importlib.import_module(module).__all__ if not name.startswith("__")}
    assert public <= listed
