"""The parts of the page that say how training went: health and curves."""

from __future__ import annotations

from worldjepa.report.charts import COLOURS, line_chart, short
from worldjepa.report.elements import Html, element, folded, join, note, table
from worldjepa.report.record import RunRecord
from worldjepa.report.verdict import Verdict

GAUGES = {
    "std": ("spread over clips", "share of the latents' size; 0: all clips alike"),
    "std_lowest": ("spread, least dimension", "0: a dimension that says nothing"),
    "effective_rank": ("effective rank", "directions in use, 1 to the width of the latents"),
    "cosine": ("cosine between clips", "1: all point the same way"),
    "raw_std": ("spread before the norm", "of the encoder's output as it comes"),
    "raw_scale": ("size before the norm", "the norm hides a shrinking one"),
    "predictor": ("predictor's error", "in the units of the loss"),
    "copy_nearest": ("... of copying", "of who copies the nearest latent that is seen"),
    "mean_latent": ("... of the mean", "of who always guesses the mean latent"),
}
# figures with a chart of their own, in this order; what else was logged are terms of the loss
CHARTS = {
    "effective_rank": "Effective rank of the latents",
    "std": "Spread of the latents over clips",
    "grad_norm": "Gradient norm",
    "learning_rate": "Learning rate",
    "ema_momentum": "EMA momentum",
    "clips_per_second": "Clips a second",
    "data_wait": "Share of the time spent waiting for data",
}
COMPARED = {"predictor": "predictor", "copy_nearest": "copy of the nearest", "mean_latent": "mean latent"}
OTHERS = ("step", "round", "env_steps", "return", "loss")


def health(record: RunRecord, verdict: Verdict) -> Html:
    """Say whether the run is healthy, why, and show the gauges."""
    said = element("div", element("b", verdict.title), verdict.words, class_=f"verdict {verdict.level}")
    remarks = element("ul", *(element("li", text) for text in verdict.remarks)) if verdict.remarks else Html()
    lines = [["gauge", "last", "first", "best", "what it is"]]
    for name, (title, meaning) in GAUGES.items():
        values = [value for _, value in record.series(name) if value is not None]
        if values:
            best = min(values) if name in ("cosine", *COMPARED) else max(values)
            lines.append([title, short(values[-1]), short(values[0]), short(best), meaning])
    gauges = element("div", table(lines), class_="gauges") if len(lines) > 1 else Html()
    words = note("The verdict follows the rules of the alarm that speaks up while a run trains.")
    return join(said, remarks, gauges, words)


def curves(record: RunRecord) -> Html:
    """Draw what was logged over the steps."""
    main = [line_chart("Loss", {"last": record.series("loss")}, "step")]
    for title, names in _others(record).items():
        for start in range(0, len(names), COLOURS):
            some = {name: record.series(name) for name in names[start : start + COLOURS]}
            main.append(line_chart(title, some, "step"))
    compared = {title: record.series(name) for name, title in COMPARED.items()}
    main.append(line_chart("Predictor beside two that learnt nothing", compared, "step"))
    single = {
        name: line_chart(title, {"last": record.series(name)}, "step") for name, title in CHARTS.items()
    }
    main += [single.pop("effective_rank"), single.pop("std")]
    first = element("div", *main, class_="charts")
    rest = element("div", *single.values(), class_="charts")
    if not any(main):
        return note("Nothing was logged.")
    return join(first, folded("rates, gradient norm, speed", rest) if any(single.values()) else Html())


def _others(record: RunRecord) -> dict[str, list[str]]:
    """Return the figures without a chart of their own: of the model's steps, and of an agent's rounds."""
    terms: dict[str, None] = {}
    agent: dict[str, None] = {}
    for line in record.metrics:
        (agent if "round" in line else terms).update(dict.fromkeys(line))
    known = {*GAUGES, *CHARTS, *OTHERS}
    found = {"Terms of the loss, unweighted": terms, "The agent, over the model's steps": agent}
    names = {title: [name for name in group if name not in known] for title, group in found.items()}
    return {title: group for title, group in names.items() if group != ["prediction"]}  # that is the loss
