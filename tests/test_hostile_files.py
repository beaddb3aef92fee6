"""Whatever is in a file that is loaded: it is refused in words, runs nothing, and eats no memory."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.hostile import changes, payloads
from tests.hostile.torch_files import torch_files
from tests.model.worlds import redrawn, world
from tests.runs import TINY_WORLD
from tests.test_hub import keep
from worldjepa.artifact import latest_checkpoint
from worldjepa.export.transformers_format import export_transformers
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.world_model import WorldModel

MEGABYTES, SECONDS = 300, 10  # more than any refusal needs
Said = tuple[str | None, float, float]


RECORD = "state: a record of another kind"
RESUMED = (
    "weights: is a pickle",
    "weights: one tensor more",
    "settings: python tag",
    "settings: bomb of aliases",
    "settings: _target_ of the model",
    "settings: model of terabytes",
    "state: nested too deep",
    RECORD,
    "folder: a pickle more",
)


class Corpus:
    """What the child is to load; the first job is a good one, and the others have to be refused."""

    def __init__(self, home: Path):
        self.home, self.jobs, self.names = home, [], []

    def add(self, group: str, name: str, entry: str, *arguments: object) -> None:
        self.names.append((group, f"{entry}, {name}"))
        self.jobs.append([entry, *map(str, arguments)])

    def run(self) -> dict[tuple[str, str], Said]:
        """Return what was said of each, and the megabytes and seconds it needed."""
        (self.home / "jobs.json").write_text(json.dumps(self.jobs))
        environment = os.environ | {
            "WORLDJEPA_MARKER": str(self.home / "marker"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": str(self.home / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.hostile.child", str(self.home / "jobs.json")]
        root = Path(__file__).resolve().parent.parent
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        left = self.names[len(lines) :]
        assert not left, f"stopped at {left[0]}: {done.stderr[-2000:]}"
        return dict(zip(self.names, map(tuple, lines), strict=True))


def changed(good: Path, where: Path, change: changes.Change) -> Path:
    """Return a copy of a good folder, changed."""
    shutil.copytree(good, where)
    change(where)
    return where


def add_checkpoints(corpus: Corpus, world_run: Path) -> None:
    """Loaded from a folder, and resumed half way by the command that began the run."""
    newest = latest_checkpoint(world_run)
    assert newest is not None
    run, good = corpus.home / "run", corpus.home / newest.name
    shutil.copytree(newest, good)
    shutil.copytree(world_run, run)
    shutil.rmtree(run / "checkpoints" / newest.name)
    corpus.add("good", "checkpoint", "load", good)
    called = changes.both(changes.with_setting("config.yaml", "masking.evil", changes.TARGET), changes.sign)
    asleep = changed(good, corpus.home / "asleep" / good.name, called)
    corpus.add("good", "a run's own _target_, which loading never calls", "load", asleep)
    corpus.add(
        "good", "run", "resume", *TINY_WORLD, f"run.dir={shutil.copytree(run, corpus.home / 'resumed')}"
    )
    for number, (name, change) in enumerate(payloads.checkpoint_payloads().items()):
        home = corpus.home / f"checkpoint{number}"
        if name != RECORD:  # which only training reads
            corpus.add("checkpoints", name, "load", changed(good, home / good.name, change))
        if name in RESUMED:
            shutil.copytree(run, home / "run")
            half = latest_checkpoint(home / "run")
            assert half is not None
            change(half)
            corpus.add("checkpoints", name, "resume", *TINY_WORLD, f"run.dir={home / 'run'}")


def add_published(corpus: Corpus) -> None:
    """Models of ours, loaded from a folder and from the hub's cache."""
    good = world(dtype=torch.float32, depth=1).save_pretrained(corpus.home / "published")
    corpus.add("good", "published", "load", good)
    for number, (name, change) in enumerate(payloads.published_payloads().items()):
        folder = corpus.home / f"published{number}" / "model"
        corpus.add("published", name, "load", changed(good, folder, change))
        cached = keep(corpus.home / "cache", f"attacker/n{number}", good)
        for file in cached.iterdir():  # each is what a link of the cache's leads to
            contents = file.read_bytes()
            file.unlink()
            file.write_bytes(contents)
        change(cached)
        corpus.add("published", f"{name}, in the cache", "load", f"hf:attacker/n{number}")


def add_foreign(corpus: Corpus) -> None:
    """Folders in transformers' format and files of torch, loaded and converted."""
    encoder = VideoEncoder(dim=24, depth=1, num_heads=2, patch_size=8, rope="vjepa2")
    predictor = MaskedPredictor(latent_dim=24, dim=24, depth=1, num_heads=2, rope="vjepa2")
    model = redrawn(WorldModel(encoder=encoder, masked_predictor=predictor, image_size=16))
    good = corpus.home / "transformers"
    export_transformers(model, good)
    corpus.add("good", "transformers", "load", good)
    corpus.add("good", "transformers", "convert", good, corpus.home / "good_conversion")
    said = [changes.with_setting("config.json", *one) for one in payloads.REMOTE_CODE.items()]
    code = changes.both(*said, changes.with_module("modeling_evil.py"))
    remote = changed(good, corpus.home / "remote", code)
    corpus.add("good", "code of its own, which nothing imports", "load", remote)
    corpus.add("good", "code of its own", "convert", remote, corpus.home / "remote_conversion")
    for number, (name, change) in enumerate(payloads.foreign_payloads().items()):
        home = corpus.home / f"foreign{number}"
        corpus.add("foreign", name, "load", changed(good, home / "weights", change))
        corpus.add("foreign", name, "convert", home / "weights", home / "converted")
    for name, write in torch_files().items():
        path = corpus.home / f"{name.replace(' ', '_')}.pt"
        write(path)
        corpus.add("foreign", name, "convert", path, corpus.home / path.stem / "converted")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def outcome(home, world_run) -> dict[tuple[str, str], Said]:
    """What one child said of them all."""
    corpus = Corpus(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLDJEPA_MARKER", str(home / "marker"))
        add_checkpoints(corpus, world_run)
        add_published(corpus)
        add_foreign(corpus)
    return corpus.run()


def test_good_ones_are_taken(outcome):
    said = {name: words for (group, name), (words, *_) in outcome.items() if group == "good"}
    assert len(said) == 8 and set(said.values()) == {None}, said


@pytest.mark.parametrize(("group", "least"), [("checkpoints", 70), ("published", 120), ("foreign", 110)])
def test_every_hostile_one_is_refused_in_a_line_quickly_and_with_little_memory(outcome, group, least):
    of_group = {name: found for (which, name), found in outcome.items() if which == group}
    assert len(of_group) >= least
    assert {name for name, (said, *_) in of_group.items() if said is None} == set()
    assert {name: said for name, (said, *_) in of_group.items() if "FAULT" in str(said)} == {}
    lines = {name: str(said).removesuffix("\n") for name, (said, *_) in of_group.items()}
    assert {name: line for name, line in lines.items() if not 20 < len(line) < 1000} == {}
    assert {name: line for name, line in lines.items() if not line.isprintable()} == {}
    assert {name: more for name, (_, more, _) in of_group.items() if more > MEGABYTES} == {}
    assert {name: time for name, (*_, time) in of_group.items() if time > SECONDS} == {}


def test_nothing_ran_and_nothing_was_written(outcome, home):
    assert outcome and not (home / "marker").exists()
    assert list(home.rglob("escaped.txt")) == []
    assert list(home.rglob("converted")) == []


def test_a_payload_that_is_unpickled_would_leave_its_marker(tmp_path, monkeypatch):
    """The corpus is live ammunition."""
    monkeypatch.setenv("WORLDJEPA_MARKER", str(tmp_path / "marker"))
    pickle.loads(changes.pickled())
    assert (tmp_path / "marker").exists()
