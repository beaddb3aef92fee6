"""Parity with the released VJEPA2Model (latents, masked predictions, gradients), and its folders."""

import json

import pytest
import torch

from worldjepa.conversion import complete
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.foreign import ForeignError, read_foreign
from worldjepa.model.foreign.names import TRANSFORMERS_ENCODER, TRANSFORMERS_PREDICTOR, to_theirs
from worldjepa.model.foreign.transformers_folder import from_transformers
from worldjepa.settings.convert import ConvertConfig
from worldjepa.types import Masks

transformers = pytest.importorskip("transformers")


def theirs(frames=4, size=32, dim=48, heads=2, depth=2, kind="VJEPA2Model", **more):
    settings = transformers.VJEPA2Config(
        patch_size=8,
        crop_size=size,
        frames_per_clip=frames,
        hidden_size=dim,
        num_attention_heads=heads,
        num_hidden_layers=depth,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=2,
        pred_num_mask_tokens=3,
        num_pooler_layers=1,
        **more,
    )
    torch.manual_seed(0)
    model = getattr(transformers, kind)(settings).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def gradients_of(module):
    return {name: x.grad for name, x in module.named_parameters() if x.grad is not None}


def both(*sizes, **more):
    model = theirs(*sizes, **more)
    ours, _, _ = complete(from_transformers(model.state_dict(), model.config.to_dict()))
    return model, ours


@pytest.mark.parametrize(
    ("frames", "size", "dim", "heads", "ratio"),
    [(4, 32, 48, 2, 4.0), (8, 16, 64, 2, 48 / 11), (2, 40, 88, 1, 4.0), (16, 24, 48, 4, 64 / 13)],
)
def test_latents_and_gradients_agree(frames, size, dim, heads, ratio):
    model, ours = both(frames, size, dim, heads, mlp_ratio=ratio)
    x = torch.randn(2, frames, 3, size, size)
    expected = model(x, skip_predictor=True).last_hidden_state
    latents = ours.encoder(x)
    torch.testing.assert_close(latents.flatten(1, 2), expected, atol=1e-5, rtol=0)
    weights = torch.randn_like(expected)
    (latents.flatten(1, 2) * weights).mean().backward()
    (expected * weights).mean().backward()
    back = to_theirs(gradients_of(ours.encoder), TRANSFORMERS_ENCODER, num_heads=heads, kernel=(3, 2, 8, 8))
    gradients = gradients_of(model.encoder)
    assert back.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(back[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("frames", "size"), [(4, 32), (8, 24)])
def test_masked_predictions_and_their_gradients_agree(frames, size):
    model, ours = both(frames, size)
    n = frames // 2 * (size // 8) ** 2
    order = torch.stack([torch.randperm(n), torch.randperm(n)])
    masks = Masks(order[:, :12].sort().values, order[:, 12:17].sort().values)
    x = torch.randn(2, frames, 3, size, size)
    assert isinstance(ours.encoder, VideoEncoder) and ours.masked_predictor is not None
    latents = ours.encoder(x)
    context = latents.flatten(1, 2).gather(1, masks.context.unsqueeze(-1).expand(-1, -1, 48))
    found = ours.masked_predictor(context, masks, ours.encoder.grid(x), setting=1)
    expected = model(x, context_mask=[masks.context], target_mask=[masks.target])
    expected = expected.predictor_output.last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    found.abs().mean().backward()
    expected.abs().mean().backward()
    own = gradients_of(ours.masked_predictor)
    back = to_theirs(own, TRANSFORMERS_PREDICTOR, num_heads=2, kernel=(3, 2, 8, 8))
    gradients = gradients_of(model.predictor)
    assert gradients.keys() == back.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(back[name], gradient, atol=1e-6, rtol=1e-4)


def test_a_folder_in_shards_is_read_whole(tmp_path):
    model = theirs()
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours, config, report = complete(read_foreign(tmp_path))
    assert (config.data.size, config.data.num_frames) == (32, 4) and report.left_over == {}
    x = torch.randn(1, 4, 3, 32, 32)
    expected = model(x, skip_predictor=True).last_hidden_state
    torch.testing.assert_close(ours.encoder(x).flatten(1, 2), expected, atol=1e-5, rtol=0)
    shard = next(iter(tmp_path.glob("*.safetensors")))
    shard.rename(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ForeignError, match=f"{shard.name} is missing"):
        read_foreign(tmp_path)


def test_half_precision_and_a_classifier_are_reported(tmp_path):
    model = theirs(kind="VJEPA2ForVideoClassification")
    model.half().save_pretrained(tmp_path)
    ours, _, report = complete(read_foreign(tmp_path))
    assert {next(iter(name.split("."))) for name in report.left_over} == {"pooler", "classifier"}
    assert report.reshaped["encoder.norm.bias"] == "float16 to float32"
    text = "\n".join(report.lines())
    assert "left over: classifier.weight: of the classifier" in text
    assert "reshaped: encoder.blocks.*.attn.qkv.weight (x2): joined, rotary channels in our order" in text
    x = torch.randn(1, 4, 3, 32, 32)
    expected = model.float().vjepa2(x, skip_predictor=True).last_hidden_state
    torch.testing.assert_close(ours.encoder(x).flatten(1, 2), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["video_preprocessor_config.json", "preprocessor_config.json"])
def test_statistics_of_the_processor_are_carried_over(tmp_path, name):
    model = theirs()
    model.save_pretrained(tmp_path)
    mean, std = [0.5, 0.4, 0.3], [0.5, 0.25, 0.2]
    (tmp_path / name).write_text(json.dumps({"image_mean": mean, "image_std": std}))
    ours, _, report = complete(read_foreign(tmp_path))
    assert "folded in" in report.reshaped["encoder.embed.proj.bias"]
    pixels = torch.rand(1, 4, 3, 32, 32)
    theirs_normalised = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    expected = model(theirs_normalised, skip_predictor=True).last_hidden_state
    found = ours.encode(pixels).flatten(1, 2)
    torch.testing.assert_close(found, ours.normalise(expected), atol=2e-5, rtol=0)
    (tmp_path / name).write_text(json.dumps({"image_mean": [0.5], "image_std": std}))
    with pytest.raises(ForeignError, match="image_mean must be three numbers"):
        read_foreign(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 3}, "config.json says num_hidden_layers=3, and the tensors say 2"),
        ({"hidden_act": "silu"}, "hidden_act='silu' cannot be built here"),
        ({"num_attention_heads": 7}, "do not make 7 heads"),
        ({"num_attention_heads": True}, "must be a whole number"),
        ({"model_type": "vit"}, "is of a model 'vit'"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, change, words):
    theirs().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ForeignError, match=words):
        read_foreign(tmp_path)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "sub/model.safetensors"])
def test_an_index_cannot_lead_out_of_the_folder(tmp_path, shard):
    theirs().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    index = {"weight_map": {"encoder.layernorm.weight": shard}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ForeignError, match=r"expected a \.safetensors file beside it"):
        read_foreign(tmp_path)


def test_an_encoder_alone_has_to_be_asked_for():
    model = theirs()
    state = {name: x for name, x in model.state_dict().items() if name.startswith("encoder.")}
    foreign = from_transformers(state, model.config.to_dict(), ConvertConfig())
    with pytest.raises(ForeignError, match="masked_predictor are missing"):
        complete(foreign)
    ours, _, _ = complete(foreign, ["masked_predictor"])
    assert ours.masked_predictor is None and ours.target_encoder is None
