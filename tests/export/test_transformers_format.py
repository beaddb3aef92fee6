"""What is exported loads in transformers and gives the same latents there, and back here."""

import pytest
import torch

from tests.model.worlds import redrawn
from worldjepa import MaskedPredictor, VideoEncoder, WorldModel
from worldjepa.conversion import complete
from worldjepa.export.functions import ExportError
from worldjepa.export.transformers_format import export_transformers
from worldjepa.model.foreign import read_foreign
from worldjepa.types import Grid, Masks

transformers = pytest.importorskip("transformers")


def video_model(*, predictor=True, target=False, **encoder):
    torch.manual_seed(0)
    sizes = {"dim": 48, "depth": 2, "num_heads": 2, "patch_size": 8, "rope": "vjepa2", "mlp_ratio": 3.0}
    make = lambda: VideoEncoder(**sizes | encoder)  # noqa: E731
    masked = MaskedPredictor(latent_dim=48, dim=36, depth=2, num_heads=2, rope="vjepa2", num_mask_tokens=2)
    model = WorldModel(
        encoder=make(),
        target_encoder=make() if target else None,
        masked_predictor=masked if predictor else None,
        image_size=32,
    )
    return redrawn(model, 0.1)


@pytest.mark.parametrize("target", [False, True])
@torch.no_grad()
def test_latents_and_predictions_are_the_same_there(tmp_path, target):
    model = video_model(target=target)
    export_transformers(model, tmp_path / "hf")
    theirs = transformers.VJEPA2Model.from_pretrained(tmp_path / "hf").eval()
    frames = torch.rand(2, 6, 3, 32, 32)
    encoder = model.target_encoder or model.encoder
    latents = encoder(frames).flatten(1, 2)
    context, wanted = torch.arange(0, 30).expand(2, -1), torch.arange(30, 48).expand(2, -1)
    found = theirs(frames, context_mask=[context], target_mask=[wanted])
    torch.testing.assert_close(found.last_hidden_state, latents, rtol=0, atol=1e-5)
    seen = encoder(frames).flatten(1, 2)[:, :30]
    assert model.masked_predictor is not None
    expected = model.masked_predictor(seen, Masks(context, wanted), Grid(3, 4, 4), setting=1)
    torch.testing.assert_close(found.predictor_output.last_hidden_state, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_encoder_alone_goes_there_and_comes_back_bit_by_bit(tmp_path):
    model = video_model(predictor=False, tubelet_size=4)
    export_transformers(model, tmp_path / "hf")
    theirs = transformers.VJEPA2Model.from_pretrained(tmp_path / "hf").eval()
    frames = torch.rand(1, 4, 3, 32, 32)
    found = theirs(frames, skip_predictor=True).last_hidden_state
    torch.testing.assert_close(found, model.encoder(frames).flatten(1, 2), rtol=0, atol=1e-5)
    back, _, _ = complete(read_foreign(tmp_path / "hf"), allow_missing=["masked_predictor"])
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(back.encoder.state_dict()[name], tensor), name
    assert back.image_size == 32


def test_the_processor_normalises_and_crops_as_encode_does(tmp_path):
    model = video_model(predictor=False)
    export_transformers(model, tmp_path / "hf")
    processor = transformers.AutoVideoProcessor.from_pretrained(tmp_path / "hf")
    frames = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    theirs = processor(frames, return_tensors="pt", do_resize=False)["pixel_values_videos"]
    assert dict(processor.crop_size) == {"height": 32, "width": 32}
    torch.testing.assert_close(theirs, model.prepare(frames[None]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rope": "paired"}, "model.encoder.rope=paired: transformers' VJEPA2 has only vjepa2"),
        ({"attention": "causal"}, "model.encoder.attention=causal"),
        ({"positions": "sincos"}, "model.encoder.positions=sincos"),
        ({"frames_per_step": 1}, "frames_per_step=1: transformers' VJEPA2 fills a tubelet with 2 frames"),
    ],
)
def test_what_cannot_be_expressed_there_is_named(settings, says, tmp_path):
    with pytest.raises(ExportError, match=says):
        export_transformers(video_model(**settings), tmp_path / "hf")
    assert list(tmp_path.iterdir()) == []
