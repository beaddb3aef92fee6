"""What a run says at its end."""

import io
import json

import pytest
from rich.console import Console

from worldjepa.outcome.labels import say_end


@pytest.mark.parametrize(
    ("records", "width", "said"),
    [
        ([], 128, "no loss was logged"),
        ([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.12345}], 128, "loss 0.1235"),
        (
            [{"step": 1, "loss": 2.0, "effective_rank": 12.34}, {"step": 2, "loss": None}],
            None,
            "loss 2.0000   effective rank 12.3",
        ),
        ([{"step": 1, "loss": 1.0, "effective_rank": 7.0}], 128, "loss 1.0000   effective rank 7.0 of 128"),
    ],
)
def test_each_metric_is_told_as_last_logged(tmp_path, records, width, said):
    if records:
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    shown = io.StringIO()
    say_end(Console(file=shown, width=40), tmp_path, width=width)
    assert shown.getvalue() == f"{said}\nrun folder: {tmp_path}\n"
