"""The example runs from a run folder to real scores."""

import importlib.util
import json
from pathlib import Path

from tests.runs import TINY_WORLD
from worldjepa.train import main

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "imagined_ppo.py"


def test_the_example_trains_and_scores(tmp_path, capsys):
    words = [word for word in TINY_WORLD if "pixels" not in word]
    few = ["collect.num_episodes=4", "train.steps=2", "train.batch_size=4", "plan.episodes=0"]
    reward = ["model.heads=[reward]", "objective.weights.reward=1"]
    assert main([*words, *few, *reward, f"run.dir={tmp_path / 'run'}"]) == 0
    capsys.readouterr()
    spec = importlib.util.spec_from_file_location("imagined_ppo", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    length = ["--steps=32", "--num-envs=4", "--horizon=4", "--score=3"]
    ensemble = ["--members=1", "--member-steps=1", "--penalty=0.5"]
    found = example.main([str(tmp_path / "run"), *length, *ensemble])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found
    assert found["imagined_steps"] == 32
    for who in ("trained", "random"):
        assert -20 * 1.5 < found[who]["mean_return"] < 0  # 20 steps, each less than the diagonal away
