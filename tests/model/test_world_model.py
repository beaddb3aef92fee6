"""WorldModel: preprocessing, latent norm, and clear answers to wrong input."""

import copy

import pytest
import torch
import torch.nn.functional as F

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.world_model import WorldModel


def build(target=True, **changes):
    torch.manual_seed(0)
    encoder = VideoEncoder(dim=24, depth=2, num_heads=2, patch_size=8)
    copied = copy.deepcopy(encoder)
    for parameter in copied.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return WorldModel(
        encoder=encoder, target_encoder=copied if target else None, image_size=16, **changes
    ).eval()


def test_encode_uses_the_target_encoder_and_its_norm():
    model = build()
    frames = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert model.target_encoder is not None
    raw = model.target_encoder((frames / 255 - mean) / std)
    torch.testing.assert_close(model.encode(frames), F.layer_norm(raw, (24,)))
    assert model.encode(frames).shape == (2, 2, 4, 24)
    plain = build(target=False, latent_norm="none")
    torch.testing.assert_close(plain.encode(frames), plain.encoder((frames / 255 - mean) / std))


def test_uint8_and_float_agree_and_other_sizes_are_resized():
    model = build()
    frames = torch.randint(0, 256, (1, 2, 3, 40, 60), dtype=torch.uint8)
    torch.testing.assert_close(model.encode(frames), model.encode(frames / 255))
    square = frames[..., 10:50]  # what the centre crop keeps
    inner = (..., slice(1, -1), slice(1, -1))  # at the border the antialiasing filter sees less
    torch.testing.assert_close(model.prepare(frames)[inner], model.prepare(square)[inner])


def test_clips_encoded_in_pieces_equal_all_at_once(monkeypatch):
    model = build()
    clips = torch.rand(5, 2, 3, 16, 16)
    whole = model.encode(clips)  # with gradients: at once
    monkeypatch.setattr("worldjepa.model.frames.PIECE", 2 * 2 * 16 * 16)
    encoder, sizes = model.target_encoder, []
    assert encoder is not None
    encoder.register_forward_hook(lambda module, given, found: sizes.append(len(found)))
    with torch.no_grad():
        torch.testing.assert_close(model.encode(clips), whole)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.zeros(2, 3, 16, 16), "RGB \\[b f c y x\\], got shape \\(2, 3, 16, 16\\)"),
        (torch.zeros(1, 2, 1, 16, 16), "RGB"),
        (torch.zeros(1, 2, 3, 0, 16), "RGB"),
        (torch.zeros(1, 2, 3, 16, 16, dtype=torch.bool), "torch.bool"),
        (torch.full((1, 2, 3, 16, 16), 255.0), "divide by 255"),
        (torch.full((1, 2, 3, 16, 16), float("nan")), "must lie in \\[0, 1\\]"),
        (torch.zeros(1, 3, 3, 16, 16), "clip has 3 frames"),
    ],
)
def test_wrong_frames_are_explained(frames, message):
    with pytest.raises(ValueError, match=message):
        build().encode(frames)


def test_rollout_without_actions_says_how_it_was_trained():
    with pytest.raises(ValueError, match=r"^rollout needs a model .* trained from video alone"):
        build().rollout(torch.zeros(1, 1, 4, 24), torch.zeros(1, 1, 2))
