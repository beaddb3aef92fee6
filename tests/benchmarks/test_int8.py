"""The int8 benchmark: every way predicts the same but for rounding; its tables say what was measured."""

import warnings

import pytest
import torch

from benchmarks import int8
from benchmarks.int8_ways import bf16, ways
from tests.model.worlds import world
from worldjepa.model.world_model import WorldModel


def small() -> WorldModel:
    return world(dtype=torch.float32, depth=1, dim=48, std=0.1)


def test_every_way_gives_nearly_the_same_and_ratios_are_to_bf16():
    model = small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = ways(model)
        call = int8.calls(model)["encode 4 frames"]
        found = {}
        for name, way in there.items():
            with way.running() as one:
                found[name] = call(one).float()
        times = {name: {way: [0.004, 0.002] for way in there} for name in int8.calls(model)}
        times["encode 1 frame"]["int8 weights"] = [0.002, 0.001]
        figures = int8.time_figures(model, times)
    for name, latents in found.items():
        assert int8.relative(latents, found["float32"]) < 0.05, name
    row = figures["int8 weights"]
    assert row["encode 1 frame"] == {"milliseconds": 1.5, "times_faster": [2.0, 2.0, 2.0]}
    assert row["megabytes"] < figures["bf16"]["megabytes"] < figures["float32"]["megabytes"]
    assert figures["float32"]["encode 1 frame"]["times_faster"] == [1.0, 1.0, 1.0]
    table = int8.time_table("a model", figures)
    assert table.count("\n") == 3 + len(there)
    assert f"| int8 weights | {row['megabytes']:.1f} | 1.50 ms, 2.00 (2.00-2.00) | 3.00 ms, 1.00" in table


def test_an_interrupted_start_goes_on_and_another_command_does_not(tmp_path):
    about = {"command": "python -m benchmarks.int8 --run RUN", "commit": "abc"}
    cases = {"accuracy": {"bf16": {"latents": 0.01, "predicted": 0.02, "errors": [0.1] * 10}}}
    out = str(tmp_path / "int8")
    assert int8.measured_before(out, about) == {}
    int8.write_results(about, cases, int8.report(about, cases), out)
    assert int8.measured_before(out, about) == cases
    assert int8.measured_before(out, about | {"commit": "def"}) == {}
    assert "| bf16 | 1.00% | 2.00% | 0.1000, 0.1000, 0.1000 |  |" in (tmp_path / "int8.md").read_text()


def test_bf16_keeps_the_weights_of_blocks_so():
    kept = bf16(small())
    kinds = {name: p.dtype for name, p in kept.named_parameters()}
    assert kinds["encoder.blocks.0.attn.qkv.weight"] == torch.bfloat16
    assert kinds["encoder.embed.proj.weight"] == torch.float32


def test_the_difference_is_a_share_of_the_norm():
    assert int8.relative(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
