"""The parts of the page that show what was measured of a run: the JSON files of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from worldjepa.evaluation.report import CAPTION, about, tables
from worldjepa.report.charts import line_chart, short
from worldjepa.report.elements import Html, element, embedded, figure, folded, join, note, paragraph, table
from worldjepa.report.record import RunRecord

FEATURES = {"trained": "trained encoder", "untrained": "untrained encoder", "pixels": "raw pixels"}
SHOWN = (1, 2, 3, 5, 7, 10)  # latent steps ahead
PREDICTIONS = {"predicted": "model", "shuffled": "under shuffled actions", "copied": "copy of the last"}
NARROW = 2  # columns of a table that leaves room for another beside it
MOST_FILM, MOST_SHEET = 3 << 20, 1 << 20  # bytes of a film and a picture that the page takes in


def labels(found: Mapping[str, Any]) -> Html:
    """Show how well the labels are read from frozen latents."""
    lines = [["features", "linear probe", "k-NN"]]
    for key, name in FEATURES.items():
        score = found[key]
        cells = [
            f"{score[probe]:.1%} [{score[f'{probe}_low']:.0%}, {score[f'{probe}_high']:.0%}]"
            for probe in ("linear", "knn")
        ]
        lines.append([name, *cells])
    lines.append(["chance", f"{found['chance']:.1%}", f"{found['chance']:.1%}"])
    caption = (
        f"Labels read from frozen latents: {found['classes']} classes, {found['train_clips']} clips to fit "
        f"to, {found['held_out_clips']} held out"
    )
    return join(table(lines, caption), note("Accuracy and its 95 % Wilson interval."))


def evaluation(found: Mapping[str, Any]) -> Html:
    """Show every probe of ``python -m worldjepa.evaluate``."""
    parts = []
    for name, probe in found["probes"].items():
        rows = probe["rows"]
        measures = list(dict.fromkeys(measure for figures in rows.values() for measure in figures))
        lines = [["", *measures]]
        for row, figures in rows.items():
            lines.append([row, *(_figure(figures[m]) if m in figures else "" for m in measures)])
        shown = [table(lines, str(probe["title"])), note(str(probe["note"]))]
        if name == "surprise" and "curves" in probe:
            shown.append(_surprise(probe["curves"]))
        parts.append(element("div", *shown, class_="whole" if len(measures) > NARROW else "half"))
    words = note(f"Of checkpoint {found['checkpoint']}; in brackets 95 % intervals.")
    return join(words, element("div", *parts, class_="probes"))


def _figure(figure: Mapping[str, Any]) -> str:
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    return short(value) if low is None or high is None else f"{value:.3f} [{low:.2f}, {high:.2f}]"


def _surprise(curves: Mapping[str, Mapping[str, Sequence[float | None]]]) -> Html:
    charts = [
        line_chart(
            f"Surprise by frame: {kind}",
            {name: list(enumerate(line)) for name, line in lines.items()},
            "frame",
        )
        for kind, lines in curves.items()
    ]
    return element("div", *charts, class_="charts")


def rollout(found: Mapping[str, Any]) -> Html:
    """Show the error of predictions by how far ahead they are, as ``RolloutErrors.to_dict`` stores it."""
    far = len(found["predicted"])
    shown = [ahead for ahead in SHOWN if ahead <= far]
    lines = [["latent steps ahead", *map(str, shown)]]
    curves = {}
    for key, name in PREDICTIONS.items():
        values = found[key]
        if values is None:
            continue  # a single window has no other to take actions from
        lines.append([name, *(short(values[ahead - 1]) for ahead in shown)])
        curves[name] = [(ahead, values[ahead - 1]) for ahead in range(1, far + 1)]
    text = f"{found['context']} latent steps given, {found['windows']} windows; guessing the mean scores 1"
    chart = line_chart(
        "Squared error, as a share of the latents' variance", curves, "latent steps ahead", text
    )
    return join(element("div", chart, class_="charts"), table(lines))


def states(found: Mapping[str, Any]) -> Html:
    """Show how exactly the true state is read from latents, encoded and predicted."""
    ahead = found["ahead"]
    shown = [steps for steps in SHOWN[::2] if steps <= len(ahead)]
    lines = [["component", "encoded", *(f"{steps} ahead" for steps in shown), "a constant guess"]]
    for index, name in enumerate(found["names"]):
        numbers = [
            found["rmse"][index],
            *(ahead[steps - 1][index] for steps in shown),
            found["spread"][index],
        ]
        lines.append([name, *map(short, numbers)])
    caption = "True state by a ridge fit on held-out episodes: root mean squared error in its own units"
    return table(lines, caption)


def planning(found: Mapping[str, Any], folder: Path) -> Html:
    """Show which goals the planner reached, beside the baselines, and the film of some episodes."""
    parts = [paragraph(about(found))]
    parts += [table(lines, heading) for heading, lines in tables(found)]
    parts.append(note(f"{CAPTION[0].upper()}{CAPTION[1:]}."))
    parts += [
        _file(folder / "plan.mp4", "video/mp4", "Goal, imagined and real, failures first", MOST_FILM),
        _file(folder / "plan.png", "image/png", "The same as a sheet", MOST_SHEET),
    ]
    settings = yaml.safe_dump(found["settings"], sort_keys=False)
    return join(*parts, folded("settings of planning", element("pre", settings)))


def _file(path: Path, kind: str, title: str, most: int) -> Html:
    """Take a film or picture of the run folder into the page, if it is there and not too large."""
    if path.is_symlink() or not path.is_file():
        return Html()
    size = path.stat().st_size
    if size > most:
        link = element("a", path.name, href=path.name)
        return note(f"{title}: ", link, f", {size / 2**20:.1f} MB, beside this page.")
    return figure(title, embedded(path.read_bytes(), kind, title))


def online(found: Mapping[str, Any]) -> Html:
    """Show what the agent earned after each round."""
    rounds = found["rounds"]
    first = found["first_policy_return"]
    reach = rounds[-1]["env_steps"]
    curves = {
        "agent": [(one["env_steps"], one["return"]) for one in rounds],
        f"{found['first_policy']} policy": [(0, first), (reach, first)],
    }
    chart = line_chart(f"Return on {found['env']}", curves, "environment steps")
    lines = [["round", "environment steps", "episodes", "model updates", "agent updates", "return"]]
    for one in rounds:
        counts = [one[name] for name in ("env_steps", "episodes", "model_steps", "agent_steps")]
        lines.append([str(one["round"] + 1), *(f"{count:,}" for count in counts), short(one["return"])])
    text = note("Mean return of episodes played without noise, which nobody learns from.")
    return join(element("div", chart, class_="charts"), table(lines), text)


def tiles(record: RunRecord) -> Html:
    """Show the figures that people ask for first."""
    steps, total = record.steps, record.config.train.steps if record.config else None
    parts = [("steps", f"{steps:,}" if total in (None, steps) else f"{steps:,} of {total:,}")]
    for name, title in (("loss", "loss, last"), ("effective_rank", "effective rank")):
        value = record.last(name)
        if value is not None:
            parts.append((title, short(value)))
    for file, place, title, form in TILES:
        value = _at(record.results.get(file), place)
        if value is not None:
            parts.append((title, form.format(value)))
    return element(
        "div",
        *(
            element("div", element("b", value), element("span", title), class_="tile")
            for title, value in parts
        ),
        class_="tiles",
    )


TILES = (
    ("labels.json", ("trained", "linear"), "labels by a linear probe", "{:.1%}"),
    ("dynamics.json", ("rollout", "predicted", -1), "error furthest ahead (1: the mean)", "{:.3g}"),
    ("plan.json", ("success_rate",), "goals reached by planning", "{:.1%}"),
    ("online.json", ("rounds", -1, "return"), "return of the agent", "{:.1f}"),
)


def _at(value: Any, place: Sequence[str | int]) -> float | None:
    """Return the number at a place of plain data, None where there is none."""
    for part in place:
        if isinstance(part, int):
            value = value[part] if isinstance(value, list) and value else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None
