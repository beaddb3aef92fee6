"""Feature maps: the encoder's own tokens, at every scale, and as the backbone of torchvision's detectors."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

import worldjepa
from tests.evaluation.clips import target, tiny_model, videos
from worldjepa.evaluation.features import features
from worldjepa.model.frames import as_unit_range, normalise_pixels


def test_the_last_layer_at_the_patch_scale_is_the_encoders_output():
    model, clips = tiny_model(), videos(rows=2, size=32)
    tokens = target(model).tokens(normalise_pixels(as_unit_range(clips)))
    expected = tokens.unflatten(2, (4, 4)).permute(0, 1, 4, 2, 3)
    for layers in (None, [1], [-1]):
        torch.testing.assert_close(features(model, clips, layers, scales=[8])["0"], expected)
    assert worldjepa.features is features


@pytest.mark.parametrize("attention", ["full", "step", "causal", "factorised"])
def test_layers_are_the_blocks_outputs_whatever_the_attention(attention: str):
    model, clips = tiny_model(attention, depth=4), videos(rows=2, size=32)
    found = features(model, clips, layers=[0, 3], scales=[8])["0"]
    x = normalise_pixels(as_unit_range(clips))
    for start, blocks in ((0, 1), (32, 4)):
        shallow = target(tiny_model(attention, depth=4))
        if attention != "factorised":  # whose blocks would be divided otherwise
            shallow.blocks = shallow.blocks[:blocks]
        elif blocks == 1:
            continue
        expected = shallow.tokens(x).unflatten(2, (4, 4)).permute(0, 1, 4, 2, 3)
        torch.testing.assert_close(found[:, :, start : start + 32], expected, atol=1e-5, rtol=1e-5)


def test_scales_are_pixels_between_places():
    model, clips = tiny_model(), videos(rows=2, size=64)
    maps = features(model, clips, layers=[0, 1], scales=[4, 8, 16, 32])
    assert [tuple(part.shape) for part in maps.values()] == [(2, 4, 64, n, n) for n in (16, 8, 4, 2)]
    assert list(maps) == ["0", "1", "2", "3"]
    by_hand = maps["1"].unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).mean(dim=(-1, -3))
    torch.testing.assert_close(maps["2"], by_hand)
    wide = features(model, clips[..., :32], scales=[8])["0"]  # frames keep their size, also oblong ones
    assert wide.shape == (2, 4, 32, 8, 4)


def test_gradients_reach_frames_and_no_hook_stays():
    model = tiny_model()
    frames = torch.rand(1, 2, 3, 16, 16, requires_grad=True)
    features(model, frames, layers=[0])["2"].sum().backward()
    assert frames.grad is not None and float(frames.grad.abs().sum()) > 0
    assert not any(block._forward_hooks for block in target(model).blocks)


def test_what_cannot_be_given_is_refused():
    model, clips = tiny_model(), videos()
    with pytest.raises(ValueError, match=r"layers=\[2\]: the encoder has layers 0 to 1"):
        features(model, clips, layers=[2])
    with pytest.raises(ValueError, match="1 or more"):
        features(model, clips, scales=[0])
    with pytest.raises(ValueError, match="multiples"):
        features(model, clips[..., :15])


class Backbone(nn.Module):
    """Frames one by one as maps, behind the pyramid that torchvision's detectors expect."""

    out_channels = 16

    def __init__(self, model, pyramid: bool):
        super().__init__()
        self.model = model
        self.pyramid = FeaturePyramidNetwork([64] * 4, self.out_channels) if pyramid else None
        if not pyramid:
            self.out_channels = 64

    def forward(self, images):
        clips = images.unsqueeze(1).expand(-1, 2, -1, -1, -1)  # a tubelet of one frame
        maps = features(self.model, clips, layers=[0, 1], scales=[4, 8, 16, 32])
        first = OrderedDict((name, part[:, 0]) for name, part in maps.items())
        return first if self.pyramid is None else self.pyramid(first)


@pytest.mark.parametrize("pyramid", [True, False])
@pytest.mark.parametrize("kind", [FasterRCNN, RetinaNet])
def test_torchvisions_detectors_take_the_maps_as_a_backbone(kind, pyramid: bool):
    plain = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "min_size": 64, "max_size": 64}
    anchors = AnchorGenerator(((8,), (16,), (32,), (64,)), ((1.0,),) * 4)
    roi = {"box_roi_pool": MultiScaleRoIAlign(["0", "1", "2", "3"], 3, 2), "rpn_anchor_generator": anchors}
    settings = roi if kind is FasterRCNN else {"anchor_generator": anchors}
    detector = kind(Backbone(tiny_model(), pyramid), num_classes=3, **settings, **plain)
    images = list(torch.rand(2, 3, 48, 64))
    truth = {"boxes": torch.tensor([[4.0, 4.0, 30.0, 30.0]]), "labels": torch.tensor([1])}
    losses = detector.train()(images, [truth, truth])
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert any(bool(p.grad.abs().sum() > 0) for p in detector.parameters() if p.grad is not None)
    found = detector.eval()(images)
    assert len(found) == 2 and set(found[0]) == {"boxes", "labels", "scores"}
