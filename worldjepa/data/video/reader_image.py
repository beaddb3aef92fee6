"""Images as videos of one frame, through the same protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from worldjepa.data.video.reader import (
    BadVideoError,
    FilePath,
    Size,
    VideoInfo,
    check_indices,
    check_pixels,
    file_key,
    target_size,
)

EXIF_ORIENTATION, TRANSPOSED = 0x0112, (5, 6, 7, 8)


class ImageReader:
    """Reads what Pillow reads (of an animation the first frame), upright by its EXIF orientation."""

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the size of the image, as a video of one frame at 0 s; decodes nothing yet."""
        file_key(path)
        try:
            with Image.open(path) as image:
                height, width = _display_size(image)
                check_pixels(path, height, width)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise BadVideoError(f"{path}: {_said(error)}") from error
        return VideoInfo(1, np.zeros(1), height, width)

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the image once for each of ``indices`` (all 0)."""
        file_key(path)
        wanted = check_indices(path, indices, 1)
        try:
            with Image.open(path) as image:
                check_pixels(path, *image.size)
                height, width = target_size(*_display_size(image), size)
                image.draft(
                    "RGB", (max(height, width), max(height, width))
                )  # lets JPEG decode at 1/2, 1/4, 1/8
                upright = ImageOps.exif_transpose(image).convert("RGB")
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise BadVideoError(f"{path}: {_said(error)}") from error
        if upright.size != (width, height):
            upright = upright.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(upright))
        return pixels.permute(2, 0, 1).expand(len(wanted), -1, -1, -1)


def _display_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if image.getexif().get(EXIF_ORIENTATION) in TRANSPOSED else (height, width)


def _said(error: Exception) -> str:
    return "no image that Pillow knows" if "cannot identify" in str(error) else str(error)
