"""``python -m worldjepa.plan`` as a user starts it, and planning as the last stage of a training run."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.runs import TINY_WORLD
from worldjepa.data.episodes.store import open_episodes
from worldjepa.data.video.reader import read_clip
from worldjepa.outcome.planning import environment
from worldjepa.plan import main
from worldjepa.settings.commands import compose_plan
from worldjepa.settings.env import EnvConfig
from worldjepa.settings.planning import PROTOCOLS, PlanningConfig, Protocol
from worldjepa.settings.schema import ConfigError, from_dict
from worldjepa.settings.validate_plan import check_planning
from worldjepa.train import main as train

EASY = [
    "plan.success={position: 0.07}",
    "plan.goal_offset=6",
    "plan.budget=4",
    "plan.horizon=2",
    "plan.planner_settings={num_samples: 16, num_elites: 4, iterations: 2}",
]


@pytest.fixture
def run(world_run: Path, tmp_path: Path) -> Path:
    """Return a run folder of the test's own."""
    return Path(shutil.copytree(world_run, tmp_path / "run"))


# --- the settings --------------------------------------------------------------------------------


def stored(folder: Path, **plan: object) -> Path:
    """Write the settings of a run that planned so."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": 7, "plan": plan}))
    return folder


def test_settings_are_those_of_the_run_unless_given(tmp_path: Path):
    few = {"num_samples": 9, "iterations": 2}
    folder = stored(tmp_path, success={"x": 0.5}, planner="cem", planner_settings=few, horizon=3)
    config, run = compose_plan([f"run.dir={folder}", "plan.horizon=4", "plan.planner_settings.iterations=5"])
    assert (run.seed, config.seed, config.plan.horizon) == (7, 0, 4)
    assert config.plan.success == {"x": 0.5}
    assert config.plan.planner_settings == {"num_samples": 9, "iterations": 5}
    config, _ = compose_plan([f"run.dir={folder}", "plan.planner=mppi", "plan.success={y: 1.0}"])
    assert (config.plan.planner, config.plan.planner_settings) == ("mppi", {})
    assert config.plan.success == {"y": 1.0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "run.dir: no run is named"),
        (["run.dir=nowhere"], "run.dir=nowhere: no run was trained there"),
        (["plan.horizn=3"], "did you mean plan.horizon"),
        (["run.dir=HERE", "plan.protocol=lewn"], "did you mean lewm"),
        (["run.dir=HERE", "plan.replan_every=9"], "1 to plan.horizon=5 action blocks"),
        (["run.dir=HERE", "plan.episodes=0"], "plan.episodes=0: expected 1 or more"),
        (["run.dir=HERE", "plan.protocol=anywhere", "plan.offsets=[3]"], "choose plan.protocol=lewm"),
        (["run.dir=HERE", "plan.success={x: 0.0}"], "plan.success.x=0.0: expected more than 0"),
    ],
)
def test_mistakes_are_answered_in_one_line(words: list[str], said: str, tmp_path: Path, capsys):
    folder = stored(tmp_path)
    assert main([word.replace("HERE", str(folder)) for word in words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("worldjepa.plan: ") and error.count("\n") == 1


def test_help_and_cfg(tmp_path: Path, capsys):
    assert main(["--help"]) == 0
    assert "plan.planner_settings" in capsys.readouterr().out
    assert main([f"run.dir={stored(tmp_path)}", "seed=3", "--cfg"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 3


def test_planning_may_be_switched_off_in_training():
    check_planning(PlanningConfig(episodes=0))
    with pytest.raises(ConfigError, match=r"plan\.warm_start=null"):
        check_planning(PlanningConfig(warm_start=0.0))


def test_the_environment_is_that_of_the_collection_unless_one_is_named(run: Path):
    """What the run says of an environment comes second: its episodes may be from elsewhere."""
    episodes = open_episodes(run / "episodes")
    others = EnvConfig(id="worldjepa/TwoRooms-v0", kwargs={"speed": 3.0})
    found = environment(EnvConfig(kwargs={"image_size": 32}), others, episodes)
    assert (found.id, found.state, found.kwargs) == ("worldjepa/Point-v0", ["position"], {"image_size": 32})
    assert environment(others, EnvConfig(), episodes) == others
    (run / "episodes" / "collection.json").unlink()
    assert environment(EnvConfig(), others, episodes) == others
    assert environment(EnvConfig(), EnvConfig(), episodes) == EnvConfig(id="worldjepa/Point-v0")


# --- whole evaluations ---------------------------------------------------------------------------


def test_a_run_is_judged(run: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    """Point has one room; the tiny model is untrained, the recorded actions reach what they reached."""
    words = [
        *EASY,
        "plan.episodes=5",
        "plan.beside=[anywhere]",
        "plan.offsets=[9]",
        "plan.budget=8",
        "plan.film=2",
    ]
    monkeypatch.setitem(PROTOCOLS, "anywhere", Protocol("random", None, budget=6, episodes=50))
    assert main([f"run.dir={run}", *words]) == 0
    found = json.loads((run / "plan.json").read_text())
    assert found["episodes"] == 5
    assert found["wilson_low"] <= found["success_rate"] <= found["wilson_high"]
    assert found["baselines"]["copy"]["success_rate"] == 1
    assert found["baselines"]["no_op"]["success_rate"] == 0
    assert found["baselines"]["oracle"]["success_rate"] >= found["baselines"]["random"]["success_rate"]
    assert found["groups"]["same_room"]["episodes"] == 5
    assert found["offsets"]["9"]["budget"] == 12  # as 8 is to 6
    assert found["beside"]["anywhere"]["budget"] == 6
    assert found["drawn"] == 5 + found["begun_at_goal"]
    assert found["seeds"] == {"tasks and planner": 0, "training": 0}
    assert found["settings"]["plan"]["horizon"] == 2
    assert "perfect model" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "data:video/mp4" in page and "data:image/png" in page and "Other goal offsets" in page
    assert read_clip(run / "plan.mp4", indices=[0]).shape[1] == 3


def test_the_same_seed_finds_the_same(run: Path):
    found = []
    for seed in (1, 1, 2):
        assert main([f"run.dir={run}", *EASY, "plan.episodes=4", "plan.film=0", f"seed={seed}"]) == 0
        result = json.loads((run / "plan.json").read_text())
        found.append(json.dumps([result["drawn"], result["steps_to_goal"], result["success_rate"]]))
    assert found[0] == found[1]
    assert not (run / "plan.mp4").exists()


def test_what_cannot_be_judged_is_refused_in_one_line(run: Path, capsys):
    assert main([f"run.dir={run}", "plan.success={place: 0.1}", "plan.goal_offset=3"]) == 2
    assert "no numbers under 'place'; info has position" in capsys.readouterr().err
    assert main([f"run.dir={run}", *EASY, "plan.planner_settings={num_sample: 3}"]) == 2
    assert "num_samples" in capsys.readouterr().err
    assert main([f"run.dir={run}", *EASY, "env.kwargs={speed: 30.0}"]) == 2
    assert "deterministic" in capsys.readouterr().err


def test_planning_is_the_last_stage_of_a_training_run(run: Path, tmp_path: Path, capsys):
    folder = tmp_path / "trained"
    words = [*TINY_WORLD, f"data.root={run / 'episodes'}", f"run.dir={folder}", "train.steps=2", *EASY]
    assert train([*words, "plan.episodes=3"]) == 0
    found = json.loads((folder / "plan.json").read_text())
    assert (found["episodes"], found["checkpoint"]) == (3, "step_00000002")
    (folder / "plan.json").unlink()
    assert train([*words, "plan.episodes=2"]) == 0  # the finished run is judged again, as asked now
    assert json.loads((folder / "plan.json").read_text())["episodes"] == 2
    assert from_dict(yaml.safe_load((folder / "config.yaml").read_text())).plan.episodes == 3
    capsys.readouterr()
    assert train([*words, "plan.episodes=2"]) == 0
    assert "lewm" not in capsys.readouterr().out
