"""Observations, histories and clips that the model is given."""

import numpy as np
import torch

from tests.planning.driving import controller
from tests.planning.stub_world import StubEnv, StubWorld


def test_dict_observations_and_proprioception():
    """The measured state joins the context where the model reads it, NaN before the reset."""
    model = StubWorld()
    model.predictor.proprioception_dim = 3
    env = StubEnv([[5.0, 5.0], [9.0, 9.0]])
    goal = {"camera": env.frames([[20, 20], [20, 20]])}
    control = controller(model, pixels="camera", proprioception=("place", "speed"), history=2)

    def observation(step):
        return {
            "camera": env.frames(),
            "place": env.positions + step,
            "speed": np.array([1.0, 2.0]),
            "other": 1,
        }

    control.act(observation(0), goal)
    control.reset(np.array([False, True]))
    control.act(observation(1), goal)
    context = model.contexts[-1]["proprioception"]
    assert context[0].tolist() == [[5, 5, 1], [6, 6, 1]]
    assert context[1, 1].tolist() == [10, 10, 2] and context[1, 0].isnan().all()
    only = controller(StubWorld())  # the only picture there is
    assert only.act({"camera": env.frames(), "place": env.positions}, goal).shape == (2, 2)


def test_grey_and_large_pictures():
    model = StubWorld(side=16)
    env = StubEnv([[10, 20]], side=32)
    large = np.repeat(np.repeat(env.frames(), 4, axis=1), 4, axis=2)
    control = controller(model)
    control.act(large, large)
    assert control.planned.context.latents[0, 0, 0].tolist() == [5, 10]
    for grey in (large[..., 0], large[0, ..., 0], large[..., :1]):
        control.reset()
        control.act(grey, grey)
        assert control.planned.context.latents[0, 0, 0].tolist() == [5, 10]


def test_frames_of_a_tubelet():
    """Two frames a latent step, 2 environment steps apart; the first observation stands for those before."""
    model = StubWorld(action_block=4, frames_per_step=2)
    shown = []
    encode = model.encode
    model.encode = lambda frames: (shown.append(frames), encode(frames))[1]
    control = controller(model, history=2)
    for step in range(9):
        frame = np.full((1, 32, 32, 3), step, np.uint8)
        control.act(frame, torch.zeros(1, 1, 2))
    assert [frames[0, :, 0, 0, 0].tolist() for frames in shown] == [[0, 0], [2, 4], [6, 8]]


def test_causal_encoders_see_all_since_the_reset():
    model = StubWorld(attention="causal")
    shown = []
    encode = model.encode
    model.encode = lambda frames: (shown.append(frames), encode(frames))[1]
    control = controller(model, history=2)
    goal = torch.zeros(2, 1, 2)
    for step in range(4):
        if step == 2:
            control.reset(np.array([True, False]))
        shown.clear()
        control.act(np.full((2, 32, 32, 3), step, np.uint8), goal)
    assert [frames[:, :, 0, 0, 0].tolist() for frames in shown] == [[[2, 3]], [[0, 1, 2, 3]]]
    assert control.planned.context.latents.shape == (2, 2, 1, 2)
