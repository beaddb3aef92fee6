"""Models published and loaded: round trips bit by bit, the card, and a hub that is a folder on this disk."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

import worldjepa
from tests.model.worlds import world
from worldjepa import hub
from worldjepa.artifact import latest_checkpoint
from worldjepa.build import from_config
from worldjepa.hub import HubError, check_links, fetch, parse_address
from worldjepa.model.blueprint import BlueprintError
from worldjepa.model.pretrained import PretrainedError
from worldjepa.tensorfile import TensorFileError

huggingface_hub = pytest.importorskip("huggingface_hub")
COMMIT = "1" * 40


def same(one, other) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run", "experiment", "by hand"])
def test_a_model_comes_back_bit_by_bit_and_says_the_same(name, world_run, tmp_path):
    if name == "run":
        model = worldjepa.load(world_run, device="cpu")
    elif name == "experiment":
        model = from_config("kinetics", ["model=nano", "data.size=32", "data.num_frames=4"]).eval()
    else:
        model = world(dtype=torch.float32, window=3)
    model.save_pretrained(tmp_path / "published")
    again = worldjepa.load(tmp_path / "published", device="cpu")
    assert same(model, again) and not again.training
    frames = torch.randint(0, 256, (2, 4, 3, 20, 30), dtype=torch.uint8)
    with torch.no_grad():
        latents = model.encode(frames)
        assert torch.equal(again.encode(frames), latents)
        if model.predictor is not None:
            actions = torch.randn(2, 3, 5, model.predictor.action_dim)
            assert torch.equal(again.rollout(latents, actions), model.rollout(latents, actions))
    assert again.facts == dict(model.facts)
    again.save_pretrained(tmp_path / "again")
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "published" / file).read_bytes(), file


def test_the_folder_holds_json_and_safetensors_and_no_paths_of_this_machine(world_run, tmp_path):
    worldjepa.load(world_run, device="cpu").save_pretrained(tmp_path / "published")
    files = {file.name: file for file in (tmp_path / "published").iterdir()}
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    text = files["config.json"].read_text() + files["README.md"].read_text()
    assert str(world_run) not in text and str(Path.home()) not in text
    json.loads(files["config.json"].read_text())


def test_the_card_is_filled_from_the_run(world_run, tmp_path):
    worldjepa.load(world_run, device="cpu").save_pretrained(tmp_path / "published", licence="apache-2.0")
    text = (tmp_path / "published" / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["license"] == "apache-2.0" and card["library_name"] == "worldjepa"
    assert "world-model" in card["tags"]
    measured = json.loads((world_run / "dynamics.json").read_text())["rollout"]["predicted"]
    for line in (
        "# World model of worldjepa/Point-v0",
        "| environment | worldjepa/Point-v0 |",
        "| episodes | 12 |",
        "| training steps | 6 |",
        "| batch size | 8 |",
        f"| squared error of the latent predicted 1 step ahead | {measured[0]:.4g} |",
        'worldjepa.load("hf:OWNER/NAME")',
    ):
        assert line in body, line
    # what is known stays known when somebody else publishes it again
    again = worldjepa.load(tmp_path / "published", device="cpu")
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == text
    huggingface_hub.ModelCard.load(tmp_path / "again" / "README.md")  # the hub's own reader takes its head


def test_a_checkpoint_alone_has_no_metrics_and_a_model_by_hand_no_training(world_run, tmp_path):
    checkpoint = latest_checkpoint(world_run)
    assert checkpoint is not None
    shutil.copytree(checkpoint, tmp_path / checkpoint.name)
    assert worldjepa.load(tmp_path / checkpoint.name, device="cpu").facts["metrics"] == {}
    world(dtype=torch.float32).save_pretrained(tmp_path / "by_hand")
    card = (tmp_path / "by_hand" / "README.md").read_text()
    assert "Nothing is known of it" in card and "Not stated" in card


def test_what_cannot_be_saved_whole_is_refused(tmp_path):
    with pytest.raises(BlueprintError, match=r"the model is in torch.float64; save it in float32"):
        world().save_pretrained(tmp_path / "double")
    model = world(dtype=torch.float32)
    model.heads["mine"] = torch.nn.Linear(2, 2)
    with pytest.raises(BlueprintError, match="a Linear cannot be described as data"):
        model.save_pretrained(tmp_path / "mine")
    iris = from_config("two_rooms", ["objective=iris", "model.heads=[]", "~objective.weights.pixels"])
    with pytest.raises(BlueprintError, match="a FrameTokenizer cannot be described as data"):
        iris.save_pretrained(tmp_path / "iris")
    assert list(tmp_path.iterdir()) == []


def test_saving_again_replaces_and_leaves_other_files(tmp_path):
    world(dtype=torch.float32).save_pretrained(tmp_path / "clone")
    (tmp_path / "clone" / ".gitattributes").write_text("x")
    other = world(dtype=torch.float32, std=0.1)
    other.save_pretrained(tmp_path / "clone")
    assert same(worldjepa.load(tmp_path / "clone", device="cpu"), other)
    assert (tmp_path / "clone" / ".gitattributes").read_text() == "x"


def test_a_damaged_copy_is_refused(tmp_path):
    folder = world(dtype=torch.float32).save_pretrained(tmp_path / "published")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1] + b"\1")
    with pytest.raises(PretrainedError, match="differ from the sum"):
        worldjepa.load(folder, device="cpu")
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(TensorFileError, match="is no safetensors file, or a damaged one"):
        worldjepa.load(folder, device="cpu")
    (folder / "model.safetensors").unlink()
    with pytest.raises(PretrainedError, match=r"lacks model\.safetensors"):
        worldjepa.load(folder, device="cpu")


# --- a hub on this disk --------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The hub's cache, offline, with a model of ours in it as its client lays it out."""
    home = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return home


def keep(cache: Path, name: str, files: Path, commit: str = COMMIT, ref: str | None = "main") -> Path:
    """Lay the files of a folder out in the cache: contents in blobs, links to them in snapshots."""
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir(exist_ok=True)
    for file in files.iterdir():
        blob = home / "blobs" / f"{commit[:4]}{file.name}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    if ref is not None:
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / ref).write_text(commit)
    return snapshot


def test_a_model_is_loaded_from_the_cache_offline_and_by_revision(cache, tmp_path):
    first, second = world(dtype=torch.float32, std=0.1), world(dtype=torch.float32, std=0.2)
    keep(cache, "me/mine", first.save_pretrained(tmp_path / "first"), "a" * 40, "v1")
    keep(cache, "me/mine", second.save_pretrained(tmp_path / "second"), "b" * 40, "main")
    assert same(worldjepa.load("hf:me/mine", device="cpu"), second)
    assert same(worldjepa.load("hf:me/mine@v1", device="cpu"), first)
    assert same(worldjepa.load(f"hf:me/mine@{'a' * 40}", device="cpu"), first)
    assert same(worldjepa.load(fetch("hf:me/mine"), device="cpu"), second)  # the folder itself, too


def test_what_is_not_in_the_cache_is_said(cache):
    with pytest.raises(HubError, match="hf:me/none: it is not in the cache and the hub cannot be reached"):
        worldjepa.load("hf:me/none")


def test_links_may_lead_into_the_caches_store_and_nowhere_else(cache, tmp_path):
    folder = world(dtype=torch.float32).save_pretrained(tmp_path / "published")
    snapshot = keep(cache, "me/mine", folder)
    check_links(snapshot)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(folder / "config.json")
    with pytest.raises(HubError, match="is a link that leads out of"):
        worldjepa.load("hf:me/mine", device="cpu")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HubError, match="is a link that leads out of"):
        worldjepa.load(folder, device="cpu")


@pytest.mark.parametrize(
    "text", ["hf:mine", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@../c", "hf:a/b@", "hf:-a/b"]
)
def test_odd_addresses_are_refused(text):
    with pytest.raises(HubError, match=r"expected hf:OWNER/NAME or hf:OWNER/NAME@REVISION"):
        parse_address(text)


def test_addresses_are_read():
    assert parse_address("hf:facebook/vjepa2-vitl-fpc64-256") == hub.Address("facebook/vjepa2-vitl-fpc64-256")
    assert parse_address("hf:me/mine@v1.0/x") == hub.Address("me/mine", "v1.0/x")


class LocalHub:
    """Stands in for the hub's API: what is uploaded is kept in a folder."""

    def __init__(self, home: Path):
        self.home, self.calls = home, []

    def create_repo(self, repo_id, *, private, exist_ok):
        self.calls.append(("create_repo", repo_id, private, exist_ok))

    def create_branch(self, repo_id, *, branch, exist_ok):
        self.calls.append(("create_branch", repo_id, branch, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, revision):
        self.calls.append(("upload_folder", repo_id, revision))
        shutil.copytree(folder_path, self.home)
        return type("Commit", (), {"oid": COMMIT})


def test_a_model_is_pushed_and_loaded_again(cache, tmp_path, monkeypatch):
    there = LocalHub(tmp_path / "uploaded")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: there)
    model = world(dtype=torch.float32)
    address = model.push_to_hub("me/mine", licence="mit", private=True, revision="v2")
    assert address == f"hf:me/mine@{COMMIT}"
    assert there.calls == [
        ("create_repo", "me/mine", True, True),
        ("create_branch", "me/mine", "v2", True),
        ("upload_folder", "me/mine", "v2"),
    ]
    assert 'worldjepa.load("hf:me/mine")' in (there.home / "README.md").read_text()
    keep(cache, "me/mine", there.home)
    assert same(worldjepa.load(address, device="cpu"), model)


def test_a_push_that_fails_says_what_is_needed(monkeypatch):
    class Refusing(LocalHub):
        def create_repo(self, repo_id, *, private, exist_ok):
            raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: Refusing(Path()))
    with pytest.raises(HubError, match="me/mine: pushing failed: no route; you need a network and a login"):
        world(dtype=torch.float32).push_to_hub("me/mine")


def test_an_absent_client_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"python -m pip install 'worldjepa\[hub\]'"):
        worldjepa.load("hf:me/mine")
