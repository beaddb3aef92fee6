"""Draw every masking strategy as a picture: ``python -m worldjepa.masking [out.png]``."""

from __future__ import annotations

import sys
from typing import Any

from worldjepa.settings.masking import STRATEGIES


def main(argv: list[str]) -> int:
    """Write the picture and say where it is; one optional argument names the file."""
    if len(argv) > 1 or argv[:1] in (["-h"], ["--help"]):
        sys.stdout.write("usage: python -m worldjepa.masking [out.png]   (default masks.png)\n")
        return 0 if argv[:1] in (["-h"], ["--help"]) else 2
    from worldjepa.model.masking import build_strategy, draw_masks
    from worldjepa.pictures import mask_picture, save_png
    from worldjepa.types import Grid

    grid = Grid(8, 14, 14)
    settings: dict[str, dict[str, Any]] = {name: {"strategy": name} for name in STRATEGIES}
    settings["multi_block, long (2 x 0.7)"] = {
        "strategy": "multi_block",
        "num_blocks": 2,
        "spatial_scale": (0.7, 0.7),
    }
    strategies = tuple(build_strategy(setting) for setting in settings.values())
    masks = draw_masks(strategies, grid, 2, seed=0, step=0)
    path = argv[0] if argv else "masks.png"
    try:
        save_png(mask_picture(dict(zip(settings, masks, strict=True)), grid), path)
    except (OSError, ValueError) as error:
        sys.stderr.write(
            f"cannot write the picture to {path}: {error}; name a .png file in a folder that exists\n"
        )
        return 2
    sys.stdout.write(f"{path}: two rows a strategy, latent steps from left to right\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
