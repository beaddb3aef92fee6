"""``write_report``: a run's folder and its model as one page of HTML that needs nothing beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from worldjepa.artifact import write_file
from worldjepa.config import VIDEO_KINDS, WORLD_KINDS
from worldjepa.loading import load
from worldjepa.model.world_model import WorldModel
from worldjepa.refusals import exit_code
from worldjepa.report import results, training
from worldjepa.report.elements import Html, element, embedded, figure, join, note
from worldjepa.report.origin import Origin, trace
from worldjepa.report.record import RunRecord, read_run
from worldjepa.report.settings import provenance, settings
from worldjepa.report.style import STYLE
from worldjepa.report.verdict import judge_run
from worldjepa.report.video_looks import mask_figures, video_figures
from worldjepa.report.world_looks import world_figures

logger = logging.getLogger(__name__)
PAGE = "report.html"
# what a file that was damaged, or that another version wrote, makes of a lookup or a format
DAMAGED = (KeyError, IndexError, TypeError, ValueError, AttributeError)
DRAWN = {"masks": "Masks", "latents": "Latents", "imagined": "Real and imagined"}


@dataclass(frozen=True)
class Part:
    """A part of the page; one without content is left out."""

    name: str
    title: str
    content: Html


def write_report(run_dir: Path, *, device: str = "auto", clips: int = 256) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Args:
        run_dir: any run, finished or not; what is damaged is left out and said so.
        device: auto, cpu or cuda, for the pictures that its model draws.
        clips: how many held-out ones the pictures use at most, and how many others a probe is fitted to.

    Raises:
        NoRunError: there is no run.
        OSError: the page cannot be written.
    """
    record = read_run(run_dir)
    parts = [part for part in _parts(record, device, clips) if part.content]
    path = run_dir / PAGE
    write_file(path, _page(record, parts))
    logger.info("report: %s", path)
    return path


def _page(record: RunRecord, parts: list[Part]) -> str:
    name = record.folder.resolve().name
    config = record.config
    about = [config.experiment or "", config.objective.kind] if config else ["settings unknown"]
    about.append(record.checkpoint.name if record.checkpoint else "no checkpoint")
    links = [element("a", part.title, href=f"#{part.name}") for part in parts]
    sections = [element("section", element("h2", p.title), p.content, id=p.name) for p in parts]
    body = [element("h1", name), note(" / ".join(filter(None, about))), results.tiles(record)]
    body += [element("nav", *links), *sections]
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", name),
        element("style", Html(STYLE)),
    ]
    page = element("html", element("head", *head), element("body", *body), lang="en")
    return f"<!doctype html>{page}\n"


# the page shows only what is in it, even if something in it asked for more
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def _parts(record: RunRecord, device: str, clips: int) -> Iterator[Part]:
    """Yield the parts of the page; what was missing is known once all others are made."""
    origin = None if record.config is None else trace(record.config)
    made = [
        Part("health", "Health", _tried(record, "the log", lambda: _health(record))),
        Part("curves", "Curves", _tried(record, "the log", lambda: training.curves(record))),
        Part("learnt", "What it learnt", _learnt(record)),
        Part("planning", "Planning", _planning(record)),
        Part("pictures", "Pictures", _pictures(record, device, clips)),
        Part("settings", "Settings", _settings(record, origin)),
        Part("again", "To run it again", provenance(record, origin)),
    ]
    if record.trouble:
        items = [element("li", text) for text in dict.fromkeys(record.trouble)]
        yield Part("missing", "Missing or damaged", element("ul", *items))
    yield from made


def _tried(record: RunRecord, what: str, make: Callable[[], Html]) -> Html:
    """Return what ``make`` makes of the files of a run, or nothing if ``what`` is not as we write it."""
    try:
        return make()
    except DAMAGED as error:
        said = f"{type(error).__name__}: {error}"
        record.trouble.append(f"{what} does not hold what this version writes and is left out ({said})")
        return Html()


def _health(record: RunRecord) -> Html:
    return training.health(record, judge_run(record)) if record.metrics else Html()


def _settings(record: RunRecord, origin: Origin | None) -> Html:
    return Html() if record.config is None or origin is None else settings(record.config, origin)


def _learnt(record: RunRecord) -> Html:
    """Show what was measured; say how to measure what was not."""
    found, kind = record.results, record.config.objective.kind if record.config else None
    parts = []
    if "online.json" in found:
        parts.append(_tried(record, "online.json", lambda: results.online(found["online.json"])))
    if "dynamics.json" in found:
        parts.append(_tried(record, "dynamics.json", lambda: _dynamics(found["dynamics.json"])))
    if "labels.json" in found:
        parts.append(_tried(record, "labels.json", lambda: results.labels(found["labels.json"])))
    if "evaluation.json" in found:
        parts.append(_tried(record, "evaluation.json", lambda: results.evaluation(found["evaluation.json"])))
    elif kind is not None:
        words = f"python -m worldjepa.evaluate run.dir={record.folder}"
        parts.append(note("Not evaluated further: ", element("code", words), " does it."))
    return join(*parts)


def _dynamics(found: dict) -> Html:
    state = results.states(found["state"]) if found["state"] is not None else Html()
    return join(element("h3", "How far predictions hold"), results.rollout(found["rollout"]), state)


def _planning(record: RunRecord) -> Html:
    found = record.results.get("plan.json")
    if found is not None:
        return _tried(record, "plan.json", lambda: results.planning(found, record.folder))
    config = record.config
    if config is None or config.objective.kind not in WORLD_KINDS or config.agent.rounds:
        return Html()
    words = f"python -m worldjepa.plan run.dir={record.folder}"
    return note("No plans were judged: ", element("code", words), " does it.")


def _pictures(record: RunRecord, device: str, clips: int) -> Html:
    """Draw what the model sees; where it or its data cannot be had, take the last pictures of training."""
    config, parts = record.config, []
    try:
        if config is None or record.checkpoint is None:
            record.trouble.append(
                "no pictures of what the model sees: there is no whole checkpoint with settings"
            )
        else:
            for part in _looks(record, load(record.checkpoint, device=device), clips):
                parts.append(part)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if exit_code(error) is None:
            raise
        record.trouble.append(f"pictures of what the model sees: {error}")
    return element("div", *parts, class_="pictures") if parts else _drawn(record)


def _looks(record: RunRecord, model: WorldModel, clips: int) -> Iterator[Html]:
    config = record.config
    assert config is not None
    if config.objective.kind in VIDEO_KINDS:
        yield from mask_figures(config, model)
        yield from video_figures(config, model, clips)
    elif config.objective.kind in WORLD_KINDS:
        measured = "dynamics.json" in record.results
        yield from world_figures(config, record.folder, model, measured=measured)


def _drawn(record: RunRecord) -> Html:
    """Return the last pictures that training drew."""
    parts = []
    for name, title in DRAWN.items():
        files = sorted((record.folder / "pictures").glob(f"{name}_*.png"))
        if files and files[-1].stat().st_size <= results.MOST_SHEET:
            image = embedded(files[-1].read_bytes(), "image/png", title)
            parts.append(figure(f"{title}, as drawn while it trained", image, text=files[-1].name))
    return join(*parts)
