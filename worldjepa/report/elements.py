"""HTML as values: whatever is not markup already is escaped, so that no file of a run can speak HTML."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from worldjepa.films import write_mp4

EMPTY = ("img", "meta", "line", "polyline", "circle")  # elements that hold nothing
FILM_FPS = 4


class Html(str):
    """Markup, made here; any other text is data."""


def element(name: str, /, *content: str, **attributes: object) -> Html:
    """Return ``<name ...>content</name>``; ``class_`` is ``class``, ``aria_label`` is ``aria-label``.

    An attribute that is True stands alone.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{html.escape(str(value))}"')
    start = " ".join(words)
    return Html(f"<{start}/>" if name in EMPTY else f"<{start}>{join(*content)}</{name}>")


def join(*content: str) -> Html:
    """Return the parts one after the other, escaped where they are no markup."""
    return Html("".join(part if isinstance(part, Html) else html.escape(str(part)) for part in content))


def paragraph(*content: str) -> Html:
    """Return a paragraph."""
    return element("p", *content)


def note(*content: str) -> Html:
    """Return a paragraph that explains: small and pale."""
    return element("p", *content, class_="note")


def table(lines: Sequence[Sequence[str]], caption: str = "") -> Html:
    """Return lines of cells as a table, the first line and each first cell being headings."""
    rows = []
    for index, line in enumerate(lines):
        cells = [
            element("th" if 0 in (index, place) else "td", cell, **_scope(index, place))
            for place, cell in enumerate(line)
        ]
        rows.append(element("tr", *cells))
    body = join(element("thead", *rows[:1]), element("tbody", *rows[1:]))
    heading = element("p", caption, class_="caption") if caption else Html()
    return join(heading, element("div", element("table", body), class_="wide"))


def _scope(line: int, place: int) -> dict[str, object]:
    return {"scope": "col"} if line == 0 else {"scope": "row"} if place == 0 else {}


def folded(summary: str, *content: str) -> Html:
    """Return what is shown when it is asked for."""
    return element("details", element("summary", summary), *content)


def figure(title: str, *content: str, text: str = "") -> Html:
    """Return a picture, film or chart under its title, with a line of text below."""
    parts = [element("h3", title), *content]
    return element("figure", *parts, *([element("figcaption", text)] if text else []))


def picture(image: UInt8[Tensor, "c y x"], alt: str) -> Html:
    """Return a still picture, the file within the page."""
    file = io.BytesIO()
    Image.fromarray(_pixels(image)).save(file, "PNG", optimize=True)
    return embedded(file.getvalue(), "image/png", alt)


def film(frames: UInt8[Tensor, "f c y x"], alt: str, fps: int = FILM_FPS) -> Html:
    """Return a film that repeats, the file within the page; of one frame, a still picture."""
    if len(frames) == 1:
        return picture(frames[0], alt)
    file = io.BytesIO()
    write_mp4(file, map(_pixels, frames), fps=fps)
    return embedded(file.getvalue(), "video/mp4", alt)


def embedded(data: bytes, kind: str, alt: str) -> Html:
    """Return a picture or film of a media type, given as the bytes of its file."""
    address = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    if kind.startswith("image/"):
        return element("img", src=address, alt=alt)
    flags = dict.fromkeys(("controls", "loop", "muted", "autoplay", "playsinline"), True)
    return element("video", src=address, aria_label=alt, **flags)


def _pixels(image: UInt8[Tensor, "c y x"]) -> UInt8[np.ndarray, "y x c"]:
    return np.ascontiguousarray(image.cpu().permute(1, 2, 0).numpy())
