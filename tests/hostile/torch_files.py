"""Hostile ``.pt`` files, as an attacker would write them for ``python -m worldjepa.convert``."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.hostile.changes import pickled, torch_pickled, void


def torch_files() -> dict[str, Callable[[Path], None]]:
    """Return writers of ``.pt`` files for ``python -m worldjepa.convert``."""

    def spread(path: Path) -> None:
        one = torch.zeros(1)
        torch.save({"encoder": {"module.backbone.pos_embed": one.expand(1 << 40)}}, path)

    def climbing(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../../escaped.txt", "x")
            archive.writestr("archive/data.pkl", pickled())

    def doubled(path: Path) -> None:
        """Lists that hold the next one twice: a million million tensors in a kilobyte."""
        found: list[Any] = [torch.zeros(2)]
        for _ in range(40):
            found = [found, found]
        torch.save({"encoder": found}, path)

    def larger_storage(path: Path) -> None:
        """The pickle speaks of 2**40 numbers in a storage, of which four are there."""
        whole = io.BytesIO()
        torch.save({"encoder": {"module.backbone.norm.weight": torch.zeros(4)}}, whole)
        big = b"\x8a\x06" + (1 << 40).to_bytes(6, "little")
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as archive:
            for one in source.infolist():
                content = source.read(one)
                if one.filename.endswith("data.pkl"):
                    content = content.replace(b"K\x04t", big + b"t").replace(b"K\x04\x85", big + b"\x85")
                archive.writestr(one.filename, content)

    def pickled_by_hand(code: bytes) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("archive/data.pkl", b"\x80\x02" + code)
                archive.writestr("archive/version", b"3\n")

        return write

    def many_files(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(50_000):
                archive.writestr(f"archive/{number}", b"")

    def of(tensor: torch.Tensor, name: str = "norm.weight") -> Callable[[Path], None]:
        return lambda path: torch.save({"encoder": {f"module.backbone.{name}": tensor}}, path)

    return {
        "lists that double": doubled,
        "a storage larger than the file": larger_storage,
        "a word of two gigabytes": pickled_by_hand(b"X\xff\xff\xff\x7fabc."),
        "a number of a megabyte": pickled_by_hand(b"I" + b"9" * (1 << 20) + b"\n."),
        "fifty thousand files": many_files,
        "a tensor without memory": of(torch.empty(1 << 40, device="meta")),
        "complex numbers": of(torch.ones(24, dtype=torch.complex64)),
        "numbers of 8 bits": of(torch.ones(24).to(torch.float8_e4m3fn)),
        "a name that clears the terminal": of(torch.ones(24), "\x1b[2J\nall is well"),
        "the block of a number without end": of(torch.ones(24), f"blocks.{'9' * 5000}.norm1.weight"),
        "a pickle": lambda path: void(path.write_bytes(pickled())),
        "a pickle in an archive": lambda path: void(path.write_bytes(torch_pickled())),
        "one number spread over terabytes": spread,
        "an archive that climbs": climbing,
        "empty": lambda path: void(path.write_bytes(b"")),
        "half a file": lambda path: void(path.write_bytes(torch_pickled()[:300])),
        "a list": lambda path: torch.save([torch.zeros(2)], path),
        "numbers for names": lambda path: torch.save({"encoder": {1: torch.zeros(2)}}, path),
    }
