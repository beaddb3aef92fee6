"""Published weights as a model of ours, whole or with what may be missing named; as a checkpoint folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from worldjepa.build import build_model
from worldjepa.config import TrainConfig
from worldjepa.hub import check_links, fetch, is_address
from worldjepa.model.foreign import TIMM, Foreign, ForeignError, Report, read_foreign
from worldjepa.model.pretrained import build_to_fit
from worldjepa.model.world_model import WorldModel
from worldjepa.settings.convert import ConvertConfig
from worldjepa.settings.schema import from_dict, plain, to_dict
from worldjepa.settings.validate import validate
from worldjepa.training.checkpoint import check_fit, restore_module, write_checkpoint

SHOWN = 8


def convert_weights(source: str, out: str | Path, asked: ConvertConfig | None = None) -> Report:
    """Write published weights as a checkpoint folder for ``worldjepa.load`` and ``model.frozen=``.

    Args:
        source: a file or folder, ``hf:owner/name[@revision]``, or ``timm:NAME``.
        out: the folder to write; it appears whole or not at all.
        asked: what the weights cannot say, and what may be missing.

    Raises:
        ForeignError: what cannot be read, or is not whole (``complete``).
        HubError: it cannot be fetched.
    """
    asked, path = asked or ConvertConfig(), Path(out).expanduser()
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ForeignError(f"{path} is there already; name a folder that is not, or is empty")
    foreign = read_foreign(_local(source), asked)
    model, config, report = complete(foreign, asked.allow_missing)
    write_checkpoint(
        path,
        step=0,
        config=to_dict(config),
        model=model.state_dict(),
        optimizer={},
        record={"converted": {"source": source, **plain(report)}},
    )
    return report


def complete(foreign: Foreign, allow_missing: Sequence[str] = ()) -> tuple[WorldModel, TrainConfig, Report]:
    """Build the model of published weights; return it with its settings and the final report.

    Args:
        foreign: what ``read_foreign`` found.
        allow_missing: names of tensors, or of parts such as ``masked_predictor``, that the weights may lack.
            A part is then left out of the model; a tensor is as freshly drawn.

    Raises:
        ForeignError: something is missing and not named, or does not fit the model.
        ConfigError: sizes that no model of ours can have.
    """
    config = from_dict(foreign.settings)
    validate(config)
    model = build_to_fit(
        lambda: build_model(config, pretrained=False), lambda empty: _check(empty, foreign, allow_missing)
    )
    fresh = {name: x for name, x in model.state_dict().items() if name not in foreign.tensors}
    restore_module(model, foreign.tensors | fresh, source=foreign.report.format)
    report = replace(foreign.report, missing=(*foreign.report.missing, *fresh))
    model.facts = {"converted_from": report.format}
    return model.eval(), config, report


def _check(empty: WorldModel, foreign: Foreign, allowed: Sequence[str]) -> None:
    """Compare what the settings would build with what there is, before anything is allocated."""
    own, source = empty.state_dict(), foreign.report.format
    missing = [*foreign.report.missing, *(name for name in own if name not in foreign.tensors)]
    named = [name for name in missing if not any(f"{name}.".startswith(f"{part}.") for part in allowed)]
    if named:
        more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
        raise ForeignError(
            f"{source}: {', '.join(named[:SHOWN])}{more} are missing; nothing was taken over. If they may "
            f"be, name them: allow_missing=[{named[0]}]"
        )
    fresh = {name: own[name] for name in missing if name in own}
    check_fit(empty, foreign.tensors | fresh, source=source)


def _local(source: str) -> str | Path:
    if source.startswith(TIMM):
        return source
    path = fetch(source) if is_address(source) else Path(source).expanduser()
    if path.is_dir():
        check_links(path)
    return path
