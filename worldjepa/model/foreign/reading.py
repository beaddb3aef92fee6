"""``read_foreign``: which format it is, and the one that reads it."""

from __future__ import annotations

from pathlib import Path

from worldjepa.model.foreign.contents import Foreign, ForeignError
from worldjepa.model.foreign.meta_file import read_meta_file
from worldjepa.model.foreign.timm_weights import read_timm_file, read_timm_folder, read_timm_name
from worldjepa.model.foreign.transformers_folder import read_transformers_folder
from worldjepa.plain_data import read_json
from worldjepa.settings.convert import ConvertConfig

TIMM = "timm:"
CONFIG = "config.json"
TORCH_ENDINGS = (".pt", ".pth", ".tar", ".bin")


def read_foreign(path: str | Path, asked: ConvertConfig | None = None) -> Foreign:
    """Read published weights as settings and tensors of ours.

    Args:
        path: a folder in the hub's format (``config.json`` and safetensors: VJEPA2, or a timm model), a file
            of V-JEPA's or of a timm model (``asked.timm``), or ``timm:NAME`` of timm's registry.
        asked: what the weights cannot say themselves.

    Raises:
        ForeignError: what is not of these formats, is damaged, or cannot be built here.
    """
    asked = asked or ConvertConfig()
    if isinstance(path, str) and path.startswith(TIMM):
        return read_timm_name(path.removeprefix(TIMM), asked)
    path = Path(path).expanduser()
    if path.is_dir():
        return _read_folder(path, asked)
    if not path.is_file():
        raise ForeignError(
            f"{path}: there is no such file or folder; pass one, a hub id such as "
            "hf:facebook/vjepa2-vitl-fpc64-256, or timm:NAME"
        )
    if asked.timm is not None:
        return read_timm_file(path, asked.timm, asked)
    if path.suffix not in TORCH_ENDINGS:
        raise ForeignError(
            f"{path}: expected a file of V-JEPA's ({', '.join(TORCH_ENDINGS)}), a folder with {CONFIG}, or a "
            "timm checkpoint with timm=NAME"
        )
    return read_meta_file(path, asked)


def _read_folder(path: Path, asked: ConvertConfig) -> Foreign:
    if not (path / CONFIG).is_file():
        raise ForeignError(f"{path} has no {CONFIG}; expected a folder in the Hugging Face hub's format")
    config = read_json((path / CONFIG).resolve())
    if isinstance(config, dict) and config.get("model_type") == "vjepa2":
        return read_transformers_folder(path, config, asked)
    if isinstance(config, dict) and isinstance(config.get("architecture"), str):
        return read_timm_folder(path, config, asked)
    said = config.get("model_type") if isinstance(config, dict) else type(config).__name__
    raise ForeignError(f"{path / CONFIG} is of a model {said!r}; vjepa2 and timm's can be read")
