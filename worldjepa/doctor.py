"""``python -m worldjepa.doctor``: what of this machine worldjepa can use, found by trying it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from ctypes.util import find_library
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from worldjepa.settings.validate import READERS

NEEDED = ("torch", "torchvision", "av", "einops", "timm", "hydra-core", "gymnasium", "safetensors", "numpy")
NEEDED += ("pillow", "rich", "tensorboard", "jaxtyping")
OPTIONAL = ("decord", "torchcodec")  # no wheels everywhere; an extra
CLIP_FRAMES, CLIP_SIZE = 8, 64


class Finding(NamedTuple):
    """One line of the report; ``ok`` is None for what may be absent."""

    name: str
    ok: bool | None
    text: str


def examine() -> Iterator[Finding]:
    """Yield the findings one by one, so that a hang shows where it is."""
    yield Finding("system", True, f"{platform.platform()}, Python {platform.python_version()}")
    packages = list(_packages())
    yield from packages
    if any(package.ok is False for package in packages):
        return  # the rest needs them
    yield _cpu()
    yield _gpu()
    yield _gl()
    yield from _disk()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        written = _write_clip(clip)
        yield written
        if written.ok:
            yield from (_reader(name, clip) for name in READERS)


def main() -> int:
    """Print the report and return 0 if all that training needs works, else 1."""
    broken = []
    for name, ok, text in examine():
        mark = {True: "ok", False: "FAIL", None: "-"}[ok]
        sys.stdout.write(f"{mark:<5} {name:<18} {text}\n")
        sys.stdout.flush()
        if ok is False:
            broken.append(name)
    sys.stdout.write(f"not working: {', '.join(broken)}\n" if broken else "all that training needs works\n")
    return 1 if broken else 0


def _packages() -> Iterator[Finding]:
    yield Finding("worldjepa", True, f"{_version('worldjepa') or 'not installed (imported from its source)'}")
    for name in NEEDED + OPTIONAL:
        version = _version(name)
        absent = None if name in OPTIONAL else False
        text = version or f"not installed; python -m pip install {name}"
        yield Finding(name, True if version else absent, text)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> Finding:
    import torch

    from worldjepa.hardware import cpu_has_bf16

    bf16 = "bf16 instructions" if cpu_has_bf16() else "no bf16 instructions (fp32 is the faster precision)"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cpu", True, f"{usable} cores, {torch.get_num_threads()} torch threads, {bf16}")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        return Finding("gpu", None, f"none that torch can use (torch is built {built}); device=cpu works")
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    try:
        product = torch.ones(8, 8, device="cuda") @ torch.ones(8, 8, device="cuda")
        works = bool((product == 8).all())
    except RuntimeError as error:
        return Finding("gpu", False, f"{found[0].name} is there but does not compute: {_first_line(error)}")
    text = "; ".join(f"{each.name}, {each.total_memory / 2**30:.0f} GiB" for each in found)
    return Finding("gpu", works, text)


def _gl() -> Finding:
    """Report what simulators could draw with; the libraries are looked up, not loaded (that may crash)."""
    chosen = os.environ.get("MUJOCO_GL")
    there = [name for name in ("EGL", "OSMesa", "GL") if find_library(name)]
    text = f"MUJOCO_GL={chosen}; " if chosen else "MUJOCO_GL is not set; "
    text += f"libraries: {', '.join(there)}" if there else "no libraries"
    return Finding("gl", True if there else None, text)


def _disk() -> Iterator[Finding]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for name, folder in (("disk, here", Path.cwd()), ("disk, cache", cache)):
        place = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(place).free / 2**30
        writable = os.access(place, os.W_OK)
        text = f"{free:.1f} GiB free in {folder}" + ("" if writable else ", which cannot be written")
        yield Finding(name, free > 1 and writable, text)


def _write_clip(path: Path) -> Finding:
    """Write a clip whose frames grow brighter one by one, H.264 as everywhere."""
    import av
    import av.error
    import numpy as np

    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.width = stream.height = CLIP_SIZE
            stream.pix_fmt = "yuv420p"
            for index in range(CLIP_FRAMES):
                grey = np.full((CLIP_SIZE, CLIP_SIZE, 3), 20 + 25 * index, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return Finding("write video", False, f"PyAV cannot write H.264: {_first_line(error)}")
    return Finding("write video", True, f"{CLIP_FRAMES} frames of H.264 by PyAV, {path.stat().st_size} bytes")


def _reader(name: str, clip: Path) -> Finding:
    """Decode the clip and look whether frame ``i`` is as bright as it was drawn."""
    needed = name == "pyav"
    try:
        from worldjepa.data import read_clip

        frames = read_clip(clip, indices=[0, CLIP_FRAMES - 1], reader=name)
    except (AttributeError, ImportError, OSError, RuntimeError, ValueError) as error:
        return Finding(f"reader {name}", False if needed else None, _first_line(error))
    seen = [round(float(value)) for value in frames.float().mean(dim=(1, 2, 3))]
    drawn = [20, 20 + 25 * (CLIP_FRAMES - 1)]
    right = all(abs(one - other) <= 4 for one, other in zip(seen, drawn, strict=True))
    text = f"decodes (brightness {seen}, drawn {drawn})"
    return Finding(f"reader {name}", True if right else False if needed else None, text)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
