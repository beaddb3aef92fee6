"""What a controller remembers: pictures as the model was trained on them."""

import numpy as np
import pytest
import torch

from tests.model.worlds import world
from worldjepa.model.world_model import WorldModel
from worldjepa.planning.history import as_clips


@pytest.mark.parametrize("fit", ["crop", "squeeze"])
def test_wide_frames_are_seen_as_in_training_by_encode_and_by_controllers(fit):
    """A picture of 30 x 60, red in its left quarter, which a crop takes away."""
    model = world(dtype=torch.float32)
    model.fit = fit
    wide = np.zeros((30, 60, 3), np.uint8)
    wide[:, :15, 0] = 255
    red = model.prepare(torch.from_numpy(wide).permute(2, 0, 1)[None, None])[0, 0, 0]
    assert bool((red[:, 0] > red[:, -1] + 1).all()) is (fit == "squeeze")
    shown = model.prepare(as_clips([[wide]], model))[0, 0, 0]
    torch.testing.assert_close(shown, red, atol=0.02, rtol=0)
    with pytest.raises(ValueError, match="fit must be one of crop, squeeze"):
        WorldModel(encoder=model.encoder, fit="pad")
