"""What ``encode``, ``rollout`` and their kin refuse, and in which words."""

import pytest
import torch

from tests.model.worlds import inputs, world
from worldjepa.model.checks import check_tensors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda z, a, k: (z, a[..., :3], k), "width 3 and the model's action blocks 4"),
        (lambda z, a, k: (z, a.where(a < 1, torch.nan), k), "actions hold values that are not finite"),
        (lambda z, a, k: (z, a, k | {"past_actions": k["past_actions"] / 0}), "past_actions hold values"),
        (
            lambda z, a, k: (z, a, k | {"past_actions": k["past_actions"][:, 1:]}),
            r"past_actions must be \[b t-1 a\]",
        ),
        (lambda z, a, k: (z, a[:1], k), r"actions \(1, .* are of 1 rows and latents of 2"),
        (lambda z, a, k: (z, a[:, :, :0], k), "at least one candidate and one step"),
        (lambda z, a, k: (z, a[0, 0], k), r"actions must be \[b l a\], or \[b s l a\]"),
        (lambda z, a, k: (z[:, :, :1], a, k), "latents must be .* p=4, d=12"),
        (lambda z, a, k: (z[:, 0], a, k), r"latents must be \[b t p d\]"),
        (lambda z, a, k: (z, a, k | {"lengths": torch.tensor([0, 3])}), r"lengths must lie in 1\.\.3"),
        (lambda z, a, k: (z, a, k | {"lengths": torch.tensor([3])}), r"lengths must be whole numbers \[b\]"),
        (lambda z, a, k: (z, a, k | {"proprioception": z[:, :, 0, :3]}), "trained without it"),
        (lambda z, a, k: (z.long(), a, k), "latents must be floating point, got torch.int64"),
    ],
)
def test_rollout_says_what_is_wrong(change, words):
    model = world()
    latents, actions, past = inputs(model)
    latents, actions, more = change(latents, actions, {"past_actions": past})
    with pytest.raises(ValueError, match=words):
        model.rollout(latents, actions, **more)


def test_other_than_tensors_are_refused():
    """By the check itself: the type checks of these tests would come before it."""
    with pytest.raises(ValueError, match="lengths must be a torch tensor, got list;"):
        check_tensors(latents=torch.zeros(1), past_actions=None, lengths=[2, 3])


def test_the_others_say_so_too():
    model = world()
    latents, actions, past = inputs(model)
    with pytest.raises(ValueError, match="past_actions hold"):
        model.start(latents, past_actions=past * torch.nan)
    state = model.start(latents)
    with pytest.raises(ValueError, match=r"action must be \[b a\] = \(2, 4\), got \(2, 3\)"):
        model.step(state, actions[:, 0, 0, :3])
    with pytest.raises(ValueError, match=r"latent must be \[b p d\]"):
        model.observe(state, latents)
    for rows in (torch.tensor([0, 0]), torch.tensor([0, 2]), torch.tensor([True, False])):
        with pytest.raises(ValueError, match="rows must be"):
            model.restart(state, rows, latents)
    with pytest.raises(ValueError, match="horizon must be 1 or more"):
        model.imagine(latents, lambda latent: latent[:, 0, :4], horizon=0)


@pytest.mark.parametrize("value", [-1, 256])
def test_whole_number_frames_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.255"):
        world().encode(torch.full((1, 2, 3, 16, 16), value))


def test_whole_number_frames_of_any_dtype_are_bytes():
    model = world()
    frames = torch.randint(0, 256, (1, 2, 3, 16, 16))
    assert torch.equal(model.encode(frames), model.encode(frames.to(torch.uint8)))
