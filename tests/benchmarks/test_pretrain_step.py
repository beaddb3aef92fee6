"""The benchmark runs at a toy size, and gives no figure where losses do not agree."""

import json

import pytest
import torch

from benchmarks import pretrain_step
from benchmarks.stopwatch import Stopwatch
from benchmarks.table import quartiles

TOY = ["nano:2:32:2", "--rounds", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def small_peak(monkeypatch):
    monkeypatch.setattr(pretrain_step, "peak_flops", lambda dtype, clock: 1e9)


def test_a_toy_case_gives_a_table_and_a_record(tmp_path, capsys):
    assert pretrain_step.main([*TOY, "--out", str(tmp_path / "step")]) == 0
    text = (tmp_path / "step.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    record = json.loads((tmp_path / "step.json").read_text())
    assert {"command", "commit", "date", "processor", "threads", "versions", "rounds"} < set(record)
    (case,) = record["cases"].values()
    public, ours = case["public fp32"], case["ours fp32"]
    assert len(public["losses"]) == 3 and public["losses"][0] > public["losses"][2]  # it trains
    assert public["losses"] == pytest.approx(ours["losses"], rel=1e-5)
    assert 0 < ours["gflop"] < public["gflop"]  # hidden tokens are not embedded
    middle = [row["milliseconds"]["step"][1] for row in (public, ours)]
    parts = sum(ours["milliseconds"][part][1] for part in pretrain_step.PARTS)
    assert parts == pytest.approx(middle[1], rel=0.3)
    assert f"| ours fp32 | {middle[1]:.1f} |" in text


def test_a_weight_that_differs_gives_no_figure(monkeypatch, capsys, tmp_path):
    right = pretrain_step.from_transformers

    def wrong(tensors, config):
        found = right(tensors, config)
        found.tensors["encoder.norm.bias"] = found.tensors["encoder.norm.bias"] + 1e-2
        return found

    monkeypatch.setattr(pretrain_step, "from_transformers", wrong)
    assert pretrain_step.main([*TOY, "--out", str(tmp_path / "step")]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "ours fp32: the loss after 0 updates" in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("loss", "found"),
    [(0.800004, None), (0.80002, "after 1 updates is 0.8000200"), (float("nan"), "after 1 updates is nan")],
)
def test_losses_are_compared_after_every_update(loss, found):
    results = {name: pretrain_step.Measured(losses=[0.9, 0.8]) for name in ("public fp32", "ours bf16")}
    results["ours fp32"] = pretrain_step.Measured(losses=[0.9, loss])
    said = pretrain_step.disagreement(results)
    assert (said is None) == (found is None) and (found or "") in (said or "")


def test_parts_of_a_step_are_added_up():
    watch = Stopwatch()
    watch.seconds |= {"step": 10.0, "forward": 6.0, "target": 1.0, "context": 2.0, "predictor": 2.5}
    assert pretrain_step.parts_of(watch)["loss"] == 0.5
    doubled = watch.timing("double", lambda x: 2 * x)
    assert doubled(torch.tensor(2)) == 4 and watch.seconds["double"] > 0


def test_quartiles():
    assert quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == (2.0, 3.0, 4.0)


def test_a_case_of_another_form_is_refused(capsys):
    with pytest.raises(SystemExit):
        pretrain_step.main(["nano:2:32"])
    assert "model:frames:side:batch" in capsys.readouterr().err
