"""Frozen encoders: a timm backbone and one of ours, as they are and as they stay."""

import pytest
import timm
import torch

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.frames import normalise_pixels
from worldjepa.model.frozen import FrozenEncoder, TimmBackbone

VIT = "vit_tiny_patch16_224"  # its own normalisation is (0.5, 0.5)


@pytest.mark.parametrize(("name", "grid", "dim"), [(VIT, (2, 2), 192), ("resnet10t", (2, 2), 512)])
def test_tokens_are_those_that_timm_gives_for_its_own_normalisation(name, grid, dim):
    torch.manual_seed(0)
    backbone = TimmBackbone(name, image_size=32 if name == VIT else 64, pretrained=False).eval()
    frozen = FrozenEncoder(backbone)
    size = 32 if name == VIT else 64
    unit = torch.rand(2, 3, 3, size, size)
    latents = frozen(normalise_pixels(unit))
    assert latents.shape == (2, 3, 4, dim) and frozen.latent_dim == dim
    assert frozen.latent_grid(size, size) == grid
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    with torch.no_grad():
        features = backbone.net.forward_features((unit[1, 2:] - mean) / std)
    expected = features[0, 1:] if name == VIT else features[0].flatten(1).T
    torch.testing.assert_close(latents[1, 2], expected, atol=1e-4, rtol=1e-4)
    pooled = FrozenEncoder(backbone, pool="mean")
    torch.testing.assert_close(pooled(normalise_pixels(unit)), latents.mean(2, keepdim=True))
    assert pooled.latent_grid(size, size) == (1, 1)


def test_it_stays_frozen_and_in_eval_mode():
    torch.manual_seed(0)
    frozen = FrozenEncoder(TimmBackbone("resnet10t", image_size=32, pretrained=False))
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    frozen.train()
    assert not any(module.training for module in frozen.modules())
    latents = frozen(torch.randn(4, 1, 3, 32, 32, requires_grad=True))
    assert not latents.requires_grad
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen.state_dict().items())


def test_an_encoder_of_ours_encodes_each_frame_alone():
    torch.manual_seed(0)
    encoder = VideoEncoder(dim=32, depth=1, num_heads=2, patch_size=8, attention="step", frames_per_step=1)
    frozen = FrozenEncoder(encoder)
    x = torch.randn(2, 3, 3, 16, 16)
    assert frozen(x).shape == (2, 3, 4, 32)
    torch.testing.assert_close(frozen(x)[:, 1:2], frozen(x[:, 1:2]))
    with pytest.raises(ValueError, match="encodes each frame alone"):
        FrozenEncoder(VideoEncoder(dim=32, depth=1, num_heads=2, patch_size=8, frames_per_step=1))


def test_names_that_point_elsewhere_and_unknown_ones_are_refused():
    for name in ("hf-hub:timm/resnet18", "local-dir:/tmp/model", "no_such_model"):
        with pytest.raises(ValueError, match="plain name of its registry"):
            TimmBackbone(name, image_size=32, pretrained=False)
    with pytest.raises(ValueError, match="multiples of 16"):
        TimmBackbone(VIT, image_size=32, pretrained=False).latent_grid(40, 40)
