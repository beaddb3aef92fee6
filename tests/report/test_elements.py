"""HTML as values."""

import base64
import re

import torch

from worldjepa.report.elements import Html, element, film, folded, join, picture, table

EVIL = "<script>alert('&\"')</script>"
SAFE = "&lt;script&gt;alert(&#x27;&amp;&quot;&#x27;)&lt;/script&gt;"


def test_all_that_is_no_markup_is_escaped():
    assert element("p", EVIL) == f"<p>{SAFE}</p>"
    assert element("p", Html("<b>x</b>"), "&") == "<p><b>x</b>&amp;</p>"
    assert element("a", "x", href=EVIL) == f'<a href="{SAFE}">x</a>'
    assert join("<", Html("<br/>")) == "&lt;<br/>"
    assert SAFE in table([[EVIL], [EVIL]], EVIL) and EVIL not in table([[EVIL], [EVIL]], EVIL)
    assert EVIL not in folded(EVIL, EVIL)


def test_markup_put_together_by_other_means_is_text_again():
    """An f-string or a sum of markup is a plain ``str``: nobody is fooled into trusting it."""
    assert element("p", "<b>" + Html("x") + "</b>") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"


def test_attributes_and_elements_that_hold_nothing():
    assert element("line", x1=3, class_="grid") == '<line x1="3" class="grid"/>'
    assert (
        element("video", src="a", aria_label="b", muted=True)
        == '<video src="a" aria-label="b" muted></video>'
    )


def test_tables_have_headings():
    text = table([["", "a"], ["x", "1"]])
    assert '<th scope="col">a</th>' in text and '<th scope="row">x</th><td>1</td>' in text


def test_pictures_and_films_are_within_the_page():
    frames = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    for markup, begins in ((picture(frames[0], "p"), b"\x89PNG"), (film(frames[:1], "one"), b"\x89PNG")):
        (data,) = re.findall('src="data:image/png;base64,([^"]*)"', markup)
        assert base64.b64decode(data).startswith(begins)
    (data,) = re.findall('src="data:video/mp4;base64,([^"]*)"', film(frames, "film"))
    assert base64.b64decode(data)[4:8] == b"ftyp"
