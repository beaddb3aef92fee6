"""The pictures of a run: what its masks hide, and the latents of held-out clips as they become."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from worldjepa.config import TrainConfig
from worldjepa.data.clips.badfiles import NoGoodFileError
from worldjepa.model.world_model import WorldModel
from worldjepa.pictures import latent_picture, mask_picture, save_png
from worldjepa.run_data import Data, centre_clips
from worldjepa.training.logbook import Logbook
from worldjepa.types import Masks

logger = logging.getLogger(__name__)
SHOWN_CLIPS = 4


class Album:
    """Draws into ``pictures/`` of the run folder and into TensorBoard."""

    def __init__(self, config: TrainConfig, data: Data, run_dir: Path):
        self._config, self._folder = config, run_dir / "pictures"
        apart = max(1, len(data.held_out) // SHOWN_CLIPS)  # files are sorted: neighbours are of one class
        self._files = data.held_out.take(range(0, len(data.held_out), apart)[:SHOWN_CLIPS])
        self._frames: torch.Tensor | None = None

    def draw(self, model: WorldModel, masks: tuple[Masks, ...], step: int, book: Logbook) -> None:
        """Draw the masks of one step, and the latents where clips are held out."""
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._config.data
        assert settings.size is not None and settings.num_frames is not None
        clip = torch.empty(1, settings.num_frames, 3, settings.size, settings.size, device="meta")
        grid = model.encoder.grid(clip)
        if masks:
            named = dict(zip(self._config.masking, masks, strict=True))
            self._keep(mask_picture(named, grid), "masks", step, book)
        frames = self._held_out()
        if frames is None:
            return
        model.eval()
        with torch.no_grad():
            latents = model.encode(frames)
        model.train()
        zoom = max(1, 128 // settings.size)
        self._keep(latent_picture(frames, latents.cpu(), grid, zoom), "latents", step, book)

    def _keep(self, picture: torch.Tensor, name: str, step: int, book: Logbook) -> None:
        save_png(picture, str(self._folder / f"{name}_{step:08d}.png"))
        book.picture(step, name, picture)

    def _held_out(self) -> torch.Tensor | None:
        if self._frames is None and len(self._files):
            try:
                with centre_clips(self._config, self._files, num_workers=0) as clips:
                    self._frames = next(clips).frames
            except NoGoodFileError as error:
                logger.warning("no picture of latents: of the first held-out files, %s", error)
                self._files = self._files.take([])
        return self._frames
