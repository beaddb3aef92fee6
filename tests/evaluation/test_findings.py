"""Tables of findings in terminals as narrow as they come."""

import io
import re

from rich.console import Console

from worldjepa.evaluation.findings import Figure, Finding


def test_no_figure_is_cut_off_in_a_narrow_terminal():
    figures = {name: Figure(0.125, -0.035, 0.25) for name in ("x", "y", "area", "speed x", "speed y")}
    finding = Finding("State", {"untrained encoder": figures}, "a note")
    for width in (60, 80, 132):
        said = io.StringIO()
        Console(file=said, width=width).print(finding.table())
        assert len(re.findall(r"0\.125", said.getvalue())) == 5
        assert len(re.findall(r"0\.25\]", said.getvalue())) == 5 and "…" not in said.getvalue()
