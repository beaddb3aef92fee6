"""Pictures of a world model's run: what it sees of episodes, and what it foresees under their actions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from worldjepa.config import TrainConfig
from worldjepa.evaluation.latents import patch_encoder, token_grid
from worldjepa.evaluation.rollouts import RolledOut, roll_out
from worldjepa.model.world_model import WorldModel
from worldjepa.outcome.dream_album import imagined
from worldjepa.report.elements import Html, element, figure, film, note, picture
from worldjepa.report.results import rollout
from worldjepa.report.token_pictures import paired_film, prediction_sheet, token_film
from worldjepa.run_episodes import EpisodeData, find_episodes, windows_in_order
from worldjepa.types import Batch

SHOWN, CONTEXT, HORIZON = 4, 3, 10


def world_figures(config: TrainConfig, run_dir: Path, model: WorldModel, *, measured: bool) -> Iterator[Html]:
    """Yield the pictures of a world model's run; its rollout error too, unless that was ``measured`` before.

    Raises:
        ValueError, OSError: its episodes are not there any more, or cannot be read.
    """
    data = find_episodes(config, run_dir)
    held_out = bool(data.held_out) and not config.agent.rounds  # an agent's run learns from all of them
    ids, origin = (data.held_out, "held-out") if held_out else (data.train, "training")
    block = config.model.action_block
    steps = min(CONTEXT + HORIZON, int(np.median(data.episodes.lengths[ids])) // block + 1)
    if steps < 2:
        yield note("No pictures: no episode is two latent steps long.")
        return
    windows = _windows(config, data, ids, steps)
    few = windows.rows(0, SHOWN)
    grid = token_grid(model, few.frames)
    with torch.no_grad():
        tokens = model.normalise(patch_encoder(model).tokens(model.prepare(few.frames))).float().cpu()
    text = (
        "Left the frames, right their patch tokens: the three first principal components, of these windows "
        "together, as red, green and blue."
    )
    clips = token_film(few.frames, tokens, grid)
    yield figure(f"Tokens of {origin} episodes", film(clips, "frames beside token maps"), text=text)
    rolled = roll_out(model, [windows], context=min(CONTEXT, steps - 1))
    yield from _dreams(model, few, origin)
    yield from _predictions(model, few, rolled)
    if not measured:
        words = note(f"Measured for this page, on {origin} episodes.")
        yield element("div", rollout(rolled.errors().to_dict()), words)


def _windows(config: TrainConfig, data: EpisodeData, ids: list[int], steps: int) -> Batch:
    """Return one window each of episodes that are long enough, a batch of them."""
    lengths = data.episodes.lengths
    long = [i for i in ids if lengths[i] >= (steps - 1) * config.model.action_block]
    stride = int(lengths[long].max()) + 1
    with windows_in_order(config, data, long, num_steps=steps, stride=stride) as windows:
        return next(islice(windows, 1))


def _dreams(model: WorldModel, windows: Batch, origin: str) -> Iterator[Html]:
    """Yield real frames beside those that the pixel head draws of the predictions, where there is one."""
    if "pixels" not in model.heads:
        return
    clips = paired_film(_ends(model, windows), imagined(model, windows))
    text = (
        f"Left real frames of {origin} episodes, right what the pixel head draws of the latents predicted "
        "from the first frame and the actions alone."
    )
    yield figure("Real and imagined", film(clips, "real and imagined frames"), text=text)


def _predictions(model: WorldModel, windows: Batch, rolled: RolledOut) -> Iterator[Html]:
    """Yield predicted tokens beside true ones, where a latent step has more than one."""
    true, context = rolled.latents[:SHOWN], rolled.context
    y, x = windows.frames.shape[-2:]
    rows, columns = model.encoder.latent_grid(y, x)
    if true.shape[2] == 1 or rows * columns != true.shape[2]:
        return
    predicted = torch.cat([true[:, :context], rolled.predicted[:SHOWN]], dim=1)
    hidden = torch.zeros(true.shape[:3], dtype=torch.bool)
    hidden[:, context:] = True
    grid = token_grid(model, windows.frames)
    sheet = prediction_sheet(_ends(model, windows), true, predicted, hidden, grid)
    text = (
        "Of each window from top to bottom: frames, true latents, those predicted from the first ones and "
        "the actions (grey: given), and the error (dark red: as large as that of guessing the mean)."
    )
    image = picture(sheet, "true and predicted latents")
    yield figure("Predicted and true latents", image, text=text)


def _ends(model: WorldModel, windows: Batch) -> UInt8[Tensor, "b t c y x"]:
    """Return the last frame of each latent step."""
    step = model.encoder.frames_per_step
    return windows.frames[:, step - 1 :: step]
