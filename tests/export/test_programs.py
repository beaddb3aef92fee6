"""ONNX files and torch programs give what the model gives, for any batch; what cannot be is named."""

import contextlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import worldjepa
from tests.model.worlds import redrawn, world
from worldjepa.export import programs
from worldjepa.export.__main__ import main
from worldjepa.export.functions import ExportError, Function, encode_function, step_function
from worldjepa.export.programs import compare, export_programs
from worldjepa.model.action_stats import ActionStats
from worldjepa.model.frozen import FrozenEncoder, TimmBackbone

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def model():
    """A world model with a window and scaled actions."""
    model = world(dtype=torch.float32, depth=1, window=3)
    model.action_stats = ActionStats(2)
    model.action_stats.set(torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.1]))
    return model.eval()


@pytest.fixture(scope="module")
def said() -> io.StringIO:
    """What the command prints."""
    return io.StringIO()


@pytest.fixture(scope="module")
def exported(model, said, tmp_path_factory) -> Path:
    """Publish the model and export it by the command."""
    home = tmp_path_factory.mktemp("exported")
    model.save_pretrained(home / "published")
    with contextlib.redirect_stdout(said):
        assert main([f"run.dir={home / 'published'}", f"out={home / 'robot'}"]) == 0
    return home / "robot"


def test_the_command_says_what_it_wrote(exported, said):
    names = {"encode.onnx", "encode.pt2", "step.onnx", "step.pt2", "model.json", "manifest.json"}
    assert {file.name for file in exported.iterdir()} == names
    lines = said.getvalue().splitlines()
    assert lines[0].startswith(
        "encode: frames [b 1 3 16 16] -> latents [b 1 4 12]; differs from the model by"
    )
    assert lines[1].startswith("step: latent [b 4 12], action [b 4], keys [1 2 b 8 12], values")


def test_the_folder_describes_itself(exported, model):
    about = json.loads((exported / "model.json").read_text())
    assert about["files"] == {"encode": ["encode.onnx", "encode.pt2"], "step": ["step.onnx", "step.pt2"]}
    assert about["encode"]["inputs"] == [{"name": "frames", "shape": ["b", 1, 3, 16, 16], "dtype": "uint8"}]
    assert about["encode"]["outputs"] == [{"name": "latents", "shape": ["b", 1, 4, 12], "dtype": "float32"}]
    shapes = {one["name"]: one["shape"] for one in about["step"]["inputs"]}
    assert shapes == {
        "latent": ["b", 4, 12],
        "action": ["b", 4],
        "keys": [1, 2, "b", 8, 12],
        "values": [1, 2, "b", 8, 12],
        "position": ["b"],
    }
    assert about["actions"]["width"] == 4
    assert about["state"] == {"beginning": about["state"]["beginning"], "history": 2, "window": 3}
    for function in ("encode", "step"):
        assert max(about[function]["difference"].values()) < 1e-5


@torch.no_grad()
def test_onnx_encodes_and_rolls_out_any_batch_as_the_model_does(exported, model):
    encode = onnxruntime.InferenceSession(exported / "encode.onnx")
    step = onnxruntime.InferenceSession(exported / "step.onnx")
    generator = torch.Generator().manual_seed(3)
    for rows in (1, 5):
        frames = torch.randint(0, 256, (rows, 1, 3, 16, 16), generator=generator, dtype=torch.uint8)
        latents = model.encode(frames)
        found = encode.run(None, {"frames": frames.numpy()})[0]
        np.testing.assert_allclose(found, latents.numpy(), atol=1e-4)

        actions = torch.randn(rows, 6, 4, generator=generator)
        expected = model.rollout(latents, actions)
        latent = found[:, 0]
        keys = np.zeros((1, 2, rows, 8, 12), np.float32)
        values, position = keys, np.zeros(rows, np.int64)
        for i in range(6):
            given = {"keys": keys, "values": values, "position": position}
            latent, keys, values, position = step.run(
                None, {"latent": latent, "action": actions[:, i].numpy(), **given}
            )
            np.testing.assert_allclose(latent, expected[:, i].numpy(), atol=1e-4)


@torch.no_grad()
def test_a_torch_program_is_loaded_and_holds_only_what_it_needs(exported, model):
    program = torch.export.load(exported / "encode.pt2")
    frames = torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(program.module()(frames), model.encode(frames), rtol=0, atol=1e-5)
    names = list(program.state_dict)
    assert len(names) == len(model.encoder.state_dict()) and all("encoder" in name for name in names)


def test_the_documents_example_plans_with_onnxruntime_alone(exported, model, tmp_path, monkeypatch):
    """The action that it takes is the one that the model itself would take."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text()
    example = re.findall(r"<!-- test:onnx -->\n```python\n(.*?)\n```", page, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robot").symlink_to(exported)
    pictures = np.random.default_rng(1).integers(0, 256, (2, 3, 16, 16), dtype=np.uint8)
    found: dict = {"observation": pictures[0], "goal_image": pictures[1]}
    exec(compile(example, "export.md", "exec"), found)
    with torch.no_grad():
        latents = model.encode(torch.from_numpy(pictures)[:, None])
        futures = model.rollout(latents[:1], torch.from_numpy(found["candidates"])[None])[0]
    np.testing.assert_allclose(found["futures"], futures.numpy(), atol=1e-4)
    cost = (futures[:, -1] - latents[1]).square().mean(dim=(1, 2))
    np.testing.assert_array_equal(found["best"], found["candidates"][int(cost.argmin()), 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"proprioception_dim": 2},
        {"conditioning": "tokens", "proprioception_dim": 2, "rope": "vjepa2"},
        {"window": 1},
    ],
)
def test_every_kind_of_predictor_is_exported_and_compared(settings, tmp_path):
    model, history = world(dtype=torch.float32, depth=2, **settings), None if "window" in settings else 4
    described = export_programs(model, tmp_path / "robot", history=history)
    assert max(described["step"]["difference"].values()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"attention": "full"}, {"attention": "causal", "window": 2}, {"attention": "factorised"}]
    + [{"positions": "sincos"}, {"rope": "vjepa2", "frames_per_step": 1}],
)
def test_every_kind_of_encoder_is_exported_and_compared(settings, tmp_path):
    encoder = worldjepa.VideoEncoder(dim=24, depth=2, num_heads=2, patch_size=8, **settings)
    model = redrawn(worldjepa.WorldModel(encoder=encoder, image_size=16), 0.1)
    described = export_programs(model, tmp_path / "robot", num_frames=8)
    assert max(described["encode"]["difference"].values()) < 1e-5


@pytest.mark.slow
def test_a_frozen_backbone_of_timm_is_exported_and_compared(tmp_path):
    backbone = TimmBackbone("vit_tiny_patch16_224", image_size=32, pretrained=False)
    model = worldjepa.WorldModel(encoder=FrozenEncoder(backbone), image_size=32).eval()
    described = export_programs(model, tmp_path / "robot")
    assert max(described["encode"]["difference"].values()) < 1e-5


def test_a_program_that_says_something_else_is_not_written(model, tmp_path, monkeypatch):
    function = encode_function(model)
    assert isinstance(function, Function)
    with torch.no_grad():
        right = model.encode(function.inputs["frames"][1:])
    assert compare("encode.onnx", function, right) == 0
    with pytest.raises(ExportError, match=r"encode.onnx differs from the model by 0\.\d+ of its largest"):
        compare("encode.onnx", function, right + 0.05 * right.abs().max())
    monkeypatch.setattr(programs, "run_onnx", lambda onnx, function: right * 1.001)
    monkeypatch.setattr(programs, "to_onnx", lambda program, function: None)
    with pytest.raises(ExportError, match="nothing was written"):
        export_programs(model, tmp_path / "robot")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["out=robot"], "run.dir is not set"),
        (["run.dir=published"], "out is not set"),
        (["run.dir=published", "out=robot"], "say how many earlier latent steps"),
        (["run.dir=published", "out=robot", "num_frames=0"], "num_frames=0: expected 1 or more"),
        (
            ["run.dir=published", "out=robot", "format=onnyx"],
            "format=onnyx: expected one of onnx, transformers",
        ),
        (
            ["run.dir=published", "out=robot", "format=transformers"],
            "model.encoder.rope=paired: transformers'",
        ),
        (["run.dir=published", "out=robot", "format=transformers", "history=3"], "are of format=onnx"),
        (["run.dir=nowhere", "out=robot"], "nowhere: no such folder"),
        (["run.dri=published"], "run.dri: there is no such setting; there are run.dir"),
    ],
)
def test_mistakes_are_one_line(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    world(dtype=torch.float32, depth=1).save_pretrained("published")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert says in said and said.startswith("worldjepa.export: ") and said.count("\n") == 1
    assert not (tmp_path / "robot").exists()


def test_help_says_what_there_is(capsys):
    assert main(["--help"]) == 0
    assert "run.dir=FOLDER" in capsys.readouterr().out


def test_a_missing_package_is_named_with_the_command_that_installs_it(model, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install 'worldjepa\[onnx\]'"):
        export_programs(model, tmp_path / "robot")


def test_what_step_and_clips_need_is_said(model):
    with pytest.raises(ExportError, match="window of 3 latent steps needs 2 earlier ones"):
        step_function(model, 5)
    clip = worldjepa.VideoEncoder(dim=24, depth=1, num_heads=2, patch_size=8)
    video = worldjepa.WorldModel(encoder=clip, image_size=16)
    with pytest.raises(ExportError, match="say how many there are"):
        encode_function(video)
    with pytest.raises(ExportError, match="num_frames=3: a latent step is 2 frames"):
        encode_function(video, 3)
