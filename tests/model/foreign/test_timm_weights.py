"""timm backbones, from random weights in their own and their authors' layouts, equal timm's own features."""

import json
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from worldjepa.conversion import complete
from worldjepa.model.foreign import ForeignError, read_foreign
from worldjepa.model.frozen import timm_settings
from worldjepa.settings.convert import ConvertConfig

TINY = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"  # normalises with 0.5, not with ImageNet's statistics


def network(name, size, **more) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, img_size=size, **more).eval()


def own_features(net, pixels, name):
    """Return timm's patch tokens of frames in [0, 1], normalised as timm's registry says."""
    settings = timm_settings(name)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (settings.mean, settings.std))
    with torch.no_grad():
        return net.forward_features((pixels - mean) / std)[:, net.num_prefix_tokens :]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_small_patch14_dinov2.lvd142m", 42),
        ("vit_small_patch16_dinov3.lvd1689m", 32),
        ("vit_xsmall_patch16_clip_224.tinyclip_yfcc15m", 32),
        pytest.param("vit_base_patch16_224.mae", 32, marks=pytest.mark.slow),
        pytest.param("vit_base_patch32_clip_224.openai", 64, marks=pytest.mark.slow),
    ],
)
def test_the_wrapper_equals_timm(tmp_path, name, size):
    net = network(name, size, num_classes=0)
    torch.save({"model": net.state_dict(), "epoch": 1}, tmp_path / "weights.pth")
    model, config, report = complete(
        read_foreign(tmp_path / "weights.pth", ConvertConfig(timm=name, image_size=size))
    )
    assert config.model.encoder.timm == name and report.left_over == report.reshaped == {}
    pixels = torch.rand(2, 2, 3, size, size)
    expected = own_features(net, pixels[1], name)
    found = model.encode(pixels)
    torch.testing.assert_close(found[1], model.normalise(expected), atol=2e-5, rtol=0)
    torch.testing.assert_close(model.encoder(model.prepare(pixels))[1], expected, atol=2e-5, rtol=1e-5)


def test_a_classifier_is_left_over_and_other_tensors_are_refused(tmp_path):
    net = network(TINY, 32)
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    asked = ConvertConfig(timm=TINY, image_size=32)
    model, _, report = complete(read_foreign(tmp_path / "a.safetensors", asked))
    assert set(report.left_over) == {"head.weight", "head.bias"}
    assert "mean (0.5, 0.5, 0.5)" in report.notes[0]
    pixels = torch.rand(1, 1, 3, 32, 32)
    expected = own_features(net, pixels[0], TINY)
    torch.testing.assert_close(model.encode(pixels)[0], model.normalise(expected), atol=2e-5, rtol=0)
    state = net.state_dict()
    save_file({**state, "blocks.0.attn.bias_table": torch.zeros(2)}, tmp_path / "b.safetensors")
    with pytest.raises(
        ValueError, match=r"1 unexpected: encoder\.backbone\.net\.blocks\.0\.attn\.bias_table"
    ):
        complete(read_foreign(tmp_path / "b.safetensors", asked))
    del state["blocks.3.norm1.bias"]
    save_file(state, tmp_path / "c.safetensors")
    with pytest.raises(ForeignError, match=r"net\.blocks\.3\.norm1\.bias are missing"):
        complete(read_foreign(tmp_path / "c.safetensors", asked))


def test_a_hub_folder_says_architecture_and_statistics_and_its_table_is_resampled(tmp_path):
    name, mean, std = "vit_tiny_patch16_224", [0.1, 0.2, 0.3], [0.9, 0.8, 0.7]
    net = network(name, 64, num_classes=0)
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    said = {"architecture": name, "pretrained_cfg": {"tag": "mine", "mean": mean, "std": std}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    model, config, report = complete(read_foreign(tmp_path, ConvertConfig(image_size=32)))
    assert config.model.encoder.timm == name
    assert report.reshaped == {"encoder.backbone.net.pos_embed": "(1, 17, 192) to (1, 5, 192)"}
    pixels = torch.rand(1, 1, 3, 32, 32)
    net.set_input_size(img_size=(32, 32))  # timm's own resampling
    normalised = (pixels[0] - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        expected = net.forward_features(normalised)[:, 1:]
    torch.testing.assert_close(model.encode(pixels)[0], model.normalise(expected), atol=2e-5, rtol=0)


def test_weights_by_name_come_from_timm_and_whole(monkeypatch):
    asked, create = [], timm.create_model

    def offline(name, pretrained, **rest):
        asked.append((name, pretrained, "num_classes" in rest))
        return create(name, pretrained=False, **rest)

    monkeypatch.setattr(timm, "create_model", offline)
    foreign = read_foreign(f"timm:{TINY}", ConvertConfig(image_size=32))
    assert asked == [(TINY, True, False)]  # with its classifier: timm then loads strictly
    model, _, _ = complete(foreign)
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in foreign.tensors.items())


def test_what_timm_drops_in_silence_is_left_over(tmp_path):
    name = "vit_small_patch14_dinov2.lvd142m"
    state = network(name, 28, num_classes=0).state_dict()
    torch.save(
        state | {"mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2.pth"
    )  # as its authors publish it
    report = read_foreign(tmp_path / "dinov2.pth", ConvertConfig(timm=name, image_size=28)).report
    assert (
        set(report.left_over) == {"mask_token"} and len(report.loaded) == len(state) + 2
    )  # and the statistics


@pytest.mark.parametrize("name", ["no_such_model", "hf-hub:evil/model", "vit_tiny_patch16_224.no_such_tag"])
def test_names_that_timm_does_not_know_are_refused(tmp_path, name):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="timm has no model"):
        read_foreign(tmp_path / "a.safetensors", ConvertConfig(timm=name))
    with pytest.raises(ValueError, match="timm has no model"):
        read_foreign(f"timm:{name}")
