"""The part of the page that says how a run was made: settings, environment, and the command to repeat it."""

from __future__ import annotations

import yaml

from worldjepa.config import TrainConfig
from worldjepa.report.elements import Html, element, folded, join, note, table
from worldjepa.report.origin import ABSENT, Origin, written
from worldjepa.report.record import RunRecord
from worldjepa.settings.schema import to_dict

DEVICES = {"cpu": "a CPU", "gpu": "a GPU"}
MAIN = (  # what most readers look for, whether it differs or not
    "objective.kind",
    "data.root",
    "env.id",
    "model.size",
    "data.num_frames",
    "data.size",
    "train.steps",
    "train.batch_size",
    "train.precision",
    "optim.lr",
    "seed",
)


def settings(config: TrainConfig, origin: Origin) -> Html:
    """Show what differs from the experiment first, then the main settings, then all of them."""
    usual = (
        f"+experiment={origin.experiment} on {DEVICES[origin.kind]}"
        if origin.experiment
        else "the defaults of the schema (an experiment of that name is not in this version)"
    )
    if origin.differences:
        lines = [["setting", "here", "else"]]
        lines += [[one.name, _cell(one.value), _cell(one.usual)] for one in origin.differences]
        first = element("div", table(lines, f"Other than {usual}"), class_="words")
    else:
        first = note(f"All as {usual} has it.")
    stored = to_dict(config)
    lines = [["setting", "value"]]
    lines += [[name, _cell(value)] for name in MAIN if (value := _at(stored, name)) is not None]
    main = element("div", table(lines, "The main ones"), class_="words")
    whole = element("pre", yaml.safe_dump(stored, sort_keys=False))
    return join(first, main, folded("all settings", whole))


def provenance(record: RunRecord, origin: Origin | None) -> Html:
    """Show the command that makes the run again, and the versions it was made with."""
    parts = []
    if origin is not None:
        parts += [element("pre", origin.command), note(_trust(origin))]
    versions = record.results.get("environment.json")
    if isinstance(versions, dict):
        lines = [["package", "version"], *([str(name), str(version)] for name, version in versions.items())]
        parts.append(element("div", table(lines, "Versions that the run began with"), class_="words"))
    else:
        parts.append(note("environment.json is not there: the versions of the packages are not known."))
    return join(*parts)


def _trust(origin: Origin) -> str:
    if origin.exact:
        place = DEVICES[origin.kind]
        return f"Tried: on {place} with this version the command gives exactly the settings of the run."
    return "With this version the command does not give all settings of the run: config.yaml holds them."


def _cell(value: object) -> str:
    return "(not there)" if value is ABSENT else written(value)


def _at(stored: dict, name: str) -> object:
    for part in name.split("."):
        stored = stored[part]
    return stored
