"""World models over a frozen encoder, of a run of ours or of timm's."""

import shutil

import pytest
import torch

import worldjepa
from tests.training.tiny_world import Windows, settings, trainer
from worldjepa.build import build_model
from worldjepa.config import TrainConfig
from worldjepa.settings.schema import ConfigError, from_dict
from worldjepa.training.checkpoint import save_checkpoint
from worldjepa.training.pretrained import adopt_frozen


def pretrained(run_dir):
    """Leave a checkpoint of masked pretraining; return its target encoder."""
    encoder = {"dim": 24, "depth": 2, "num_heads": 2, "patch_size": 8, "positions": "sincos"}
    values = {"data": {"num_frames": 4, "size": 16}, "model": {"encoder": encoder}, "seed": 5}
    config = from_dict(values, TrainConfig)
    model = build_model(config)
    assert model.target_encoder is not None
    for parameter in model.target_encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    save_checkpoint(run_dir, 1, config=values, model=model.state_dict(), optimizer={}, record={})
    return model.target_encoder


FROZEN = {"latent_norm": "layer", "encoder": {"projector": {"pool": "none"}}}
ONLY_DYNAMICS = {"weights": {"prediction": 1.0, "rollout": 1.0}, "rollout_steps": 2}


def test_a_frozen_encoder_of_ours_stays_and_travels_with_the_checkpoint(tmp_path):
    source = pretrained(tmp_path / "video")
    config = adopt_frozen(
        settings(model=FROZEN | {"frozen": str(tmp_path / "video")}, objective=ONLY_DYNAMICS)
    )
    assert config.model.encoder.depth == 2 and config.model.encoder.attention == "step"
    run = trainer(config, tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in run.model.encoder.state_dict().items()}
    assert run.run()
    assert all(torch.equal(before[name], value) for name, value in run.model.encoder.state_dict().items())
    shutil.rmtree(tmp_path / "video")
    model = worldjepa.load(tmp_path / "run", device="cpu")
    assert model.target_encoder is None
    frames = next(Windows(config, 0)).frames[:2, :1]
    source.attention = "step"
    expected = source(model.prepare(frames.repeat_interleave(2, dim=1)))  # one frame fills its tubelet
    found = model.encoder(model.prepare(frames))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert model.rollout(model.encode(frames), torch.randn(2, 3, 4)).shape == (2, 3, 4, 24)


def test_a_timm_backbone_is_built_without_pretrained_weights_when_loaded(tmp_path, monkeypatch):
    import timm

    asked, create = [], timm.create_model

    def offline(name, pretrained, **rest):
        asked.append(pretrained)
        return create(name, pretrained=False, **rest)

    monkeypatch.setattr(timm, "create_model", offline)
    model = FROZEN | {"frozen": "timm/resnet10t", "encoder": {"projector": {"pool": "mean"}}}
    config = adopt_frozen(
        settings(model=model, objective=ONLY_DYNAMICS, data={"size": 32}, train={"steps": 4})
    )
    config.data.size = 32
    run = trainer(config, tmp_path)
    run.batches = lambda step: Grown(config, step)
    assert run.run()
    loaded = worldjepa.load(tmp_path, device="cpu")
    assert asked[0] and not any(asked[1:])
    frames = next(Grown(config, 0)).frames
    assert torch.equal(loaded.encode(frames), run.model.eval().encode(frames))
    assert loaded.encode(frames).shape == (8, 4, 1, 512)


class Grown(Windows):
    """The same at 32 pixels."""

    def _row(self, row):
        frames, actions, rewards = super()._row(row)
        return frames.repeat_interleave(2, -1).repeat_interleave(2, -2), actions, rewards


def test_stored_settings_cannot_make_timm_fetch_from_elsewhere():
    for name in ("timm/hf-hub:evil/model", "timm/local-dir:/tmp/x", "timm/../x"):
        with pytest.raises(ConfigError, match="plain name of timm's registry"):
            settings(model=FROZEN | {"frozen": name}, objective=ONLY_DYNAMICS)
