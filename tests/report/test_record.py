"""What can be read of a run folder, whole or damaged."""

import json
from pathlib import Path

import pytest
import yaml

from worldjepa.report.record import NoRunError, read_run


def write(folder: Path, *lines: object, config: dict | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "metrics.jsonl").write_text("\n".join(text) + "\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(config or {"experiment": "kinetics"}))
    return folder


def test_a_figure_over_the_steps(tmp_path: Path):
    run = read_run(
        write(tmp_path, {"step": 1, "loss": 3}, {"step": 2, "std": 1.5}, {"step": 4, "loss": None})
    )
    assert run.series("loss") == [(1, 3), (4, None)]
    assert (run.last("loss"), run.last("std"), run.last("rank"), run.steps) == (3, 1.5, None, 4)
    assert run.trouble == [] and run.config is not None and run.config.experiment == "kinetics"


@pytest.mark.parametrize(
    "torn", ['{"step": 3, "lo', "[1]", "", '"x"', '{"loss": 1}', '{"step": "3"}', "[" * 100_000]
)
def test_torn_lines_are_left_out_and_counted(tmp_path: Path, torn: str):
    run = read_run(write(tmp_path, {"step": 1, "loss": 3}, torn, {"step": 2, "loss": 2}))
    assert run.series("loss") == [(1, 3), (2, 2)]
    assert run.trouble == ["metrics.jsonl: 1 of 3 lines cannot be read and are left out"]


def test_only_numbers_are_taken(tmp_path: Path):
    line = f'{{"step": 1, "a": true, "b": "<b>", "c": 1e999, "d": {"9" * 400}, "e": [1], "f": 2}}'
    assert read_run(write(tmp_path, line)).metrics == [{"step": 1, "c": None, "d": None, "f": 2}]


def test_results_that_are_no_data_are_named(tmp_path: Path):
    write(tmp_path, {"step": 1, "loss": 3})
    (tmp_path / "plan.json").write_text("{")
    (tmp_path / "labels.json").write_text('{"chance": 0.5}')
    run = read_run(tmp_path)
    assert run.results == {"labels.json": {"chance": 0.5}}
    assert len(run.trouble) == 1 and run.trouble[0].startswith("plan.json is left out")


@pytest.mark.parametrize(
    "text", ["{", "- 1", "- seed", "7", "sed: 1", "data: {size: many}", "!!python/name:os.system"]
)
def test_settings_that_are_not_ours_are_named(tmp_path: Path, text: str):
    write(tmp_path, {"step": 1, "loss": 3})
    (tmp_path / "config.yaml").write_text(text)
    run = read_run(tmp_path)
    assert run.config is None
    assert [said.startswith("config.yaml cannot be used") for said in run.trouble] == [True]


def test_no_run_is_refused(tmp_path: Path):
    with pytest.raises(NoRunError, match="no such folder"):
        read_run(tmp_path / "runs")
    with pytest.raises(NoRunError, match="no run was trained there"):
        read_run(tmp_path)
