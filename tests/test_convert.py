"""``python -m worldjepa.convert``, and what converted weights are good for: load, freeze, resume."""

import json
import shutil
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import worldjepa
from tests.data.made_episodes import made_store
from tests.model.foreign import published
from tests.runs import weights
from worldjepa.artifact import latest_checkpoint, verify_folder
from worldjepa.convert import main
from worldjepa.data.episodes.lerobot_writer import write_lerobot
from worldjepa.settings.compose import compose
from worldjepa.settings.schema import ConfigError
from worldjepa.train import main as train
from worldjepa.training.optim import learning_rate

HEADS = ["num_heads=2", "predictor_heads=2", "image_size=16"]


def vjepa2_file(path, parts=("encoder", "target_encoder", "predictor")):
    """Write a small V-JEPA 2 in its published layout."""
    tensors = {
        "encoder": published.draw(published.encoder_shapes(24, 2), 0),
        "target_encoder": published.draw(published.encoder_shapes(24, 2), 1),
        "predictor": published.draw(published.predictor_shapes(24, 24, 1, mask_tokens=10), 2),
    }
    torch.save({part: published.wrapped(tensors[part]) for part in parts} | {"epoch": 7}, path)
    return path


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    assert main([str(vjepa2_file(folder / "vitx.pt")), str(folder / "out"), *HEADS]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def robot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robot")
    return write_lerobot(made_store(folder / "store", [8, 9, 7, 8]), folder / "lerobot")


def test_what_became_of_every_tensor_is_said_and_stored(tmp_path, capsys):
    source = vjepa2_file(tmp_path / "vitx.pt")
    assert main([str(source), str(tmp_path / "out"), *HEADS]) == 0
    said = capsys.readouterr().out
    assert "format: V-JEPA 2 (.pt)" in said and "missing: nothing" in said
    assert "left over: epoch: of the training, not of the model" in said
    assert "reshaped: target_encoder.embed.proj.weight: 24x3x2x8x8 to 24x384" in said
    verify_folder(tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "train_state.json").read_text())["record"]["converted"]
    assert stored["source"] == str(source) and stored["missing"] == []
    model = worldjepa.load(tmp_path / "out", device="cpu")
    assert set(stored["loaded"]) == set(model.state_dict())
    assert main([str(source), str(tmp_path / "out"), *HEADS]) == 2
    assert "is there already" in capsys.readouterr().err


def test_mistakes_are_one_line_and_write_nothing(tmp_path, capsys):
    source = str(vjepa2_file(tmp_path / "alone.pt", parts=("target_encoder",)))
    for words, said in (
        ([], "SOURCE OUT"),
        ([source, "num_heads=2"], "SOURCE OUT"),
        ([str(tmp_path / "none"), "out"], "there is no such file or folder"),
        ([source, "out", "num_hedas=2"], "did you mean num_heads"),
        ([source, str(tmp_path / "out"), *HEADS], "masked_predictor are missing; nothing was taken over"),
        (
            [source, str(tmp_path / "out"), *HEADS, "allow_missing=[predictor]"],
            "masked_predictor are missing",
        ),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([source, str(tmp_path / "out"), *HEADS, "allow_missing=[masked_predictor]"]) == 0
    assert "missing: masked_predictor" in capsys.readouterr().out
    assert worldjepa.load(tmp_path / "out", device="cpu").masked_predictor is None


def test_the_published_recipe():
    """V-JEPA 2-AC: teacher forcing and a two-step rollout, L1, AdamW with WSD over 94,500 steps."""
    config = compose(["+experiment=vjepa2_ac", "data.root=robot", "model.frozen=weights"])
    objective, optim = config.objective, config.optim
    assert (objective.loss, objective.rollout_steps) == ("l1", 2)
    assert objective.weights == {"prediction": 1.0, "rollout": 1.0}
    predictor = config.model.predictor
    assert (predictor.dim, predictor.depth, predictor.num_heads) == (1024, 24, 16)
    assert (predictor.conditioning, predictor.rope) == ("tokens", "vjepa2")
    assert (config.data.size, config.train.batch_size, config.train.precision) == (256, 256, "bf16")
    assert optim.weight_decay == (0.04, 0.04) and config.model.latent_norm == "layer"
    total = config.train.steps or 0
    found = [learning_rate(step, total, optim) for step in (0, 4500, 50000, 90000, 94499)]
    assert found == pytest.approx([7.5e-5, 4.25e-4, 4.25e-4, 4.25e-4, 0.0], abs=1e-6)


def words(robot, converted, run_dir):
    return [
        "+experiment=vjepa2_ac",
        f"data.root={robot}",
        f"model.frozen={converted}",
        f"run.dir={run_dir}",
        "device=cpu",
        "data.size=16",
        "data.num_frames=4",
        "data.num_workers=0",
        "model.predictor.dim=24",
        "model.predictor.depth=2",
        "model.predictor.num_heads=2",
        "train.batch_size=4",
        "train.steps=4",
        "train.precision=fp32",
        "train.checkpoint_every=2",
    ]


def test_a_converted_encoder_becomes_a_world_model_and_the_run_resumes(robot, converted, tmp_path):
    run_dir = tmp_path / "run"
    assert train(words(robot, converted, run_dir)) == 0
    model, source = worldjepa.load(run_dir, device="cpu"), worldjepa.load(converted, device="cpu")
    assert model.predictor is not None and model.predictor.extra == 2  # action and proprioception
    pixels = torch.rand(2, 3, 3, 16, 16)
    latents = model.encode(pixels)
    for step in range(3):  # each frame alone, doubled to fill its tubelet, by the target encoder's weights
        frame = pixels[:, step : step + 1].repeat_interleave(2, dim=1)
        torch.testing.assert_close(latents[:, step], source.encode(frame)[:, 0], atol=1e-5, rtol=0)
    future = model.rollout(latents, torch.randn(2, 5, 3, 2), past_actions=torch.randn(2, 2, 2))
    assert future.shape == (2, 5, 3, 4, 24) and bool(future.isfinite().all())
    assert (future[:, 0] - future[:, 1]).abs().max() > 0
    whole = weights(run_dir)
    last = latest_checkpoint(run_dir)
    assert last is not None
    shutil.rmtree(last)
    assert train(words(robot, converted, run_dir)) == 0
    assert weights(run_dir) == whole


def test_a_converted_timm_model_serves_at_another_size_with_its_own_statistics(robot, tmp_path):
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"  # normalises with 0.5
    torch.manual_seed(0)
    net: Any = timm.create_model(name, pretrained=False, img_size=48).eval()
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    out = tmp_path / "out"
    assert main([str(tmp_path / "a.safetensors"), str(out), f"timm={name}", "image_size=48"]) == 0
    alone = worldjepa.load(out, device="cpu")
    assert alone.encode(torch.rand(1, 2, 3, 48, 48)).shape == (1, 2, 9, 192)
    with pytest.raises(ValueError, match="trained with actions"):
        alone.rollout(alone.encode(torch.rand(1, 1, 3, 48, 48)), torch.zeros(1, 1, 2))
    run_dir = tmp_path / "run"
    assert train([*words(robot, out, run_dir), "data.size=32", "train.steps=1"]) == 0
    shutil.rmtree(out)
    model = worldjepa.load(run_dir, device="cpu")  # whole without the folder it came from
    pixels = torch.rand(2, 1, 3, 32, 32)
    net.set_input_size(img_size=(32, 32))
    with torch.no_grad():
        expected = net.forward_features((pixels[:, 0] - 0.5) / 0.5)[:, 1:]
    torch.testing.assert_close(model.encode(pixels)[:, 0], model.normalise(expected), atol=2e-5, rtol=0)


def test_the_encoder_of_v_jepa_2_ac_is_frozen_anew(tmp_path):
    encoder = published.draw(published.encoder_shapes(24, 1), 3)
    predictor = published.draw(published.predictor_shapes(24, 24, 1, actions=7, proprioception=7), 4)
    parts = {"encoder": published.wrapped(encoder), "predictor": published.wrapped(predictor)}
    torch.save(parts, tmp_path / "ac.pt")
    assert main([str(tmp_path / "ac.pt"), str(tmp_path / "out"), *HEADS]) == 0
    source = worldjepa.load(tmp_path / "out", device="cpu")
    small = ["device=cpu", "data.size=16", "model.predictor.dim=24", "model.predictor.depth=1"]
    settings = [f"model.frozen={tmp_path / 'out'}", "model.predictor.num_heads=2", "model.action_dim=2"]
    model = worldjepa.from_config("vjepa2_ac", [*small, *settings]).eval()
    pixels = torch.rand(1, 2, 3, 16, 16)
    assert torch.equal(model.encode(pixels), source.encode(pixels))


def test_the_encoder_has_to_be_named(robot, tmp_path, capsys):
    unnamed = [word for word in words(robot, "", tmp_path / "run") if not word.startswith("model.frozen")]
    assert train(unnamed) == 2
    assert "none is named; set model.frozen=FOLDER" in capsys.readouterr().err


def test_an_encoder_that_stands_alone_is_not_trained():
    with pytest.raises(ConfigError, match="nothing to train"):
        compose(["+experiment=kinetics", "objective.kind=none"])
