"""Images as videos of one frame, through the same protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, read_file

from worldjepa.data.resize import resize_frames
from worldjepa.data.video import BadVideoError, FilePath, Size, VideoInfo, check_indices, file_key, target_size


class ImageReader:
    """Reads JPEG, PNG, WebP and GIF (its first frame), upright by their EXIF orientation."""

    def probe(self, path: FilePath) -> VideoInfo:
        """Return the size of the image, as a video of one frame at 0 s."""
        image = _decode(path)
        return VideoInfo(1, np.zeros(1), image.shape[-2], image.shape[-1])

    def read(self, path: FilePath, indices: Sequence[int], size: Size = None) -> UInt8[Tensor, "f c y x"]:
        """Return the image once for each of ``indices`` (all 0)."""
        image = _decode(path)
        wanted = check_indices(path, indices, 1)
        resized = resize_frames(image[None], target_size(image.shape[-2], image.shape[-1], size))
        return resized.expand(len(wanted), -1, -1, -1)


def _decode(path: FilePath) -> UInt8[Tensor, "c y x"]:
    file_key(path)
    try:
        image = decode_image(read_file(str(path)), ImageReadMode.RGB, apply_exif_orientation=True)
    except RuntimeError as error:
        raise BadVideoError(f"{path}: {str(error).strip().splitlines()[0]}") from error
    return image if image.ndim == 3 else image[0]
