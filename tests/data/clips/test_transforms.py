"""Crops and flips: seeded, the same for every frame, and blind to the global generator."""

import pytest
import torch
from torchvision.transforms.v2 import functional as v2

from worldjepa.data.clips.transforms import EvalTransform, TrainTransform


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(count: int = 3, height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator(5))


def test_a_seed_decides_and_the_global_generator_is_left_alone():
    transform = TrainTransform(24)
    before = torch.get_rng_state()
    first, again, other = (transform(frames(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_frames_are_cropped_alike():
    still = frames(1).expand(4, -1, -1, -1)
    for seed in range(5):
        clip = TrainTransform(24)(still, generator(seed))
        assert clip.shape == (4, 3, 24, 24) and clip.dtype == torch.uint8
        assert all(torch.equal(clip[0], frame) for frame in clip)


def test_the_crop_is_the_one_drawn():
    transform = TrainTransform(24, flip=0.0)
    box = transform.draw_crop(40, 56, generator(3))
    expected = v2.resized_crop(frames(), *box, [24, 24], antialias=True)
    assert torch.equal(transform(frames(), generator(3)), expected)
    flipped = TrainTransform(24, flip=1.0)(frames(), generator(3))
    assert torch.equal(flipped, expected.flip(-1))


def test_crops_cover_the_ranges_asked_for():
    transform = TrainTransform(24, crop_scale=(0.3, 0.9), crop_aspect=(0.75, 1.35))
    random = generator(0)
    boxes = torch.tensor([transform.draw_crop(300, 300, random) for _ in range(2000)], dtype=torch.float64)
    top, left, height, width = boxes.unbind(dim=1)
    share, aspect = height * width / 300**2, width / height
    assert 0.295 < share.min() < 0.31 and 0.8 < share.max() < 0.905
    assert 0.74 < aspect.min() < 0.77 and 1.3 < aspect.max() < 1.36
    assert abs(aspect.log().mean()) < 0.02
    assert top.min() == 0 and (top + height).max() == 300
    assert left.min() == 0 and (left + width).max() == 300


def test_when_no_crop_fits_the_centre_is_taken():
    transform = TrainTransform(24, crop_scale=(1.0, 1.0), crop_aspect=(0.75, 1.35))
    assert transform.draw_crop(100, 400, generator(0)) == (0, 132, 100, 135)
    assert transform.draw_crop(400, 100, generator(0)) == (133, 0, 133, 100)


def test_flips_come_as_often_as_asked():
    ramp = torch.arange(24, dtype=torch.uint8).expand(1, 3, 24, 24)
    whole = TrainTransform(24, crop_scale=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=0.25)
    random = generator(0)
    flips = sum(int(whole(ramp, random)[0, 0, 0, 0] == 23) for _ in range(400))
    assert 70 < flips < 130


def test_decode_sizes():
    assert TrainTransform(224).decode_size(480, 640) == 256
    assert TrainTransform(224).decode_size(240, 426) == 240
    assert EvalTransform(224).decode_size(120, 160) == 256
    assert TrainTransform(64).decode_size(80, 80) == 73


def test_evaluation_takes_the_centre():
    clip = frames(2, 32, 48)
    assert torch.equal(EvalTransform(28)(clip, generator(0)), clip[:, :, 2:30, 10:38])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 0}, "size=0"),
        ({"size": 8, "crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"size": 8, "crop_scale": (0.5, 1.5)}, "crop_scale"),
        ({"size": 8, "crop_aspect": (2.0, 1.0)}, "crop_aspect"),
        ({"size": 8, "flip": 1.5}, "flip=1.5"),
    ],
)
def test_settings_that_make_no_sense(settings, said):
    with pytest.raises(ValueError, match=said):
        TrainTransform(**settings)
