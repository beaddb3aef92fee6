"""The pictures of a world model's run: held-out windows, and below each what the model imagines of it."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from worldjepa.config import TrainConfig
from worldjepa.model.world_model import WorldModel
from worldjepa.pictures import film_strips, save_png
from worldjepa.run_episodes import EpisodeData, windows_in_order
from worldjepa.training.logbook import Logbook
from worldjepa.types import Batch, Masks

WINDOWS, STEPS = 3, 9  # shown, and how many latent steps of each; the first is given


class DreamAlbum:
    """Draws into ``pictures/`` of the run folder and into TensorBoard, where a head draws pixels."""

    def __init__(self, config: TrainConfig, data: EpisodeData, run_dir: Path):
        self._config, self._data, self._folder = config, data, run_dir / "pictures"
        self._windows: Batch | None = None

    def draw(self, model: WorldModel, masks: tuple[Masks, ...], step: int, book: Logbook) -> None:
        """Draw each window's frames with the imagined ones below, if a held-out episode is long enough."""
        windows = self._held_out()
        if windows is None or "pixels" not in model.heads:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        model.eval()
        picture = film_strips(_shown(model, windows.frames), imagined(model, windows))
        model.train()
        save_png(picture, str(self._folder / f"imagined_{step:08d}.png"))
        book.picture(step, "imagined", picture)

    def _held_out(self) -> Batch | None:
        block = self._config.model.action_block
        lengths = self._data.episodes.lengths
        steps = min(STEPS, max((int(lengths[i]) // block + 1 for i in self._data.held_out), default=0))
        if self._windows is None and steps > 1:
            long = [i for i in self._data.held_out if lengths[i] >= (steps - 1) * block]
            stride = int(lengths[long].max()) + 1  # one window an episode
            chosen = long[:WINDOWS]
            with windows_in_order(
                self._config, self._data, chosen, num_steps=steps, stride=stride
            ) as windows:
                self._windows = next(windows)
        return self._windows


@torch.no_grad()
def imagined(model: WorldModel, windows: Batch) -> UInt8[Tensor, "b t c y x"]:
    """Return the frames that the pixel head draws of the first latent and of those predicted from it."""
    assert windows.actions is not None
    first = model.encode(windows.frames)[:, :1]
    future = model.rollout(first, windows.actions.to(model.device))
    frames = model.heads["pixels"](torch.cat([first, future], dim=1))
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _shown(model: WorldModel, frames: UInt8[Tensor, "b f c y x"]) -> UInt8[Tensor, "b t c y x"]:
    """Return the last frame of each latent step."""
    step = model.encoder.frames_per_step
    return frames[:, step - 1 :: step]
