"""Parity with the released VJEPA2Model: latents, masked predictions and gradients, on random weights."""

import pytest
import torch

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.foreign import from_vjepa2
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.types import Masks

transformers = pytest.importorskip("transformers")


def both(frames=4, size=32, dim=48, heads=2, depth=3):
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
        pred_zero_init_mask_tokens=False,
    )
    torch.manual_seed(0)
    theirs = transformers.VJEPA2Model(settings).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    encoder = VideoEncoder(dim=dim, depth=depth, num_heads=heads, patch_size=8, rope="vjepa2")
    predictor = MaskedPredictor(
        latent_dim=dim, dim=24, depth=2, num_heads=2, rope="vjepa2", num_mask_tokens=3
    )
    ours = torch.nn.ModuleDict({"encoder": encoder, "masked_predictor": predictor})
    ours.load_state_dict(from_vjepa2(theirs.state_dict(), num_heads=heads, predictor_heads=2))
    return theirs, encoder, predictor


@pytest.mark.parametrize(("frames", "size", "dim", "heads"), [(4, 32, 48, 2), (8, 16, 64, 2), (2, 40, 88, 1)])
def test_latents_and_gradients_agree(frames, size, dim, heads):
    theirs, encoder, _ = both(frames, size, dim, heads)
    x = torch.randn(2, frames, 3, size, size)
    expected = theirs(x, skip_predictor=True).last_hidden_state
    latents = encoder(x)
    torch.testing.assert_close(latents.flatten(1, 2), expected, atol=1e-5, rtol=0)
    latents.square().mean().backward()
    expected.square().mean().backward()
    here = encoder.get_parameter("blocks.0.mlp.fc1.weight").grad
    torch.testing.assert_close(here, theirs.encoder.layer[0].mlp.fc1.weight.grad, atol=1e-6, rtol=1e-4)


def test_masked_predictions_agree():
    theirs, encoder, predictor = both()
    x = torch.randn(2, 4, 3, 32, 32)
    order = torch.stack([torch.randperm(32), torch.randperm(32)])
    masks = Masks(order[:, :12].sort().values, order[:, 12:27].sort().values)
    latents = encoder(x)
    context = latents.flatten(1, 2).gather(1, masks.context.unsqueeze(-1).expand(-1, -1, 48))
    ours = predictor(context, masks, encoder.grid(x), setting=1)
    output = theirs(x, context_mask=[masks.context], target_mask=[masks.target])
    torch.testing.assert_close(ours, output.predictor_output.last_hidden_state, atol=1e-5, rtol=0)


def test_a_foreign_tensor_is_named():
    with pytest.raises(ValueError, match=r"pooler\.query"):
        from_vjepa2({"pooler.query": torch.zeros(1)}, num_heads=1, predictor_heads=1)
