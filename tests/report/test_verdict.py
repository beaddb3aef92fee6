"""Health in words, over what runs log."""

from pathlib import Path

from worldjepa.config import TrainConfig
from worldjepa.report.record import Logged, RunRecord
from worldjepa.report.verdict import judge_run
from worldjepa.settings.model import ModelConfig
from worldjepa.settings.run import LoopConfig

SOUND: Logged = {
    "std": 0.6,
    "std_lowest": 0.2,
    "raw_std": 0.6,
    "raw_scale": 1.0,
    "effective_rank": 30.0,
    "cosine": 0.5,
    "predictor": 0.2,
    "copy_nearest": 0.4,
    "mean_latent": 0.5,
}
FLAT: Logged = SOUND | {"std": 0.001, "effective_rank": 1.2, "cosine": 1.0}
POOR: Logged = SOUND | {"predictor": 0.45}


def run(*looks: Logged, steps: int | None = None, frozen: str | None = None) -> RunRecord:
    """Return a run that logged so, every hundred steps."""
    lines: list[Logged] = [{"step": 100 * (i + 1), "loss": 1.0} | look for i, look in enumerate(looks)]
    config = TrainConfig(train=LoopConfig(steps=steps or 100 * len(looks)), model=ModelConfig(frozen=frozen))
    return RunRecord(Path("run"), config, lines)


def test_a_sound_run():
    found = judge_run(run(*[SOUND] * 6))
    assert (found.level, found.remarks) == ("good", [])
    assert "50% of that of copying" in found.words and "40% of that of guessing" in found.words


def test_a_collapsed_run_and_one_that_came_back():
    found = judge_run(run(SOUND, SOUND, FLAT, FLAT, FLAT, FLAT))
    assert found.level == "bad" and "clips have become alike" in found.title
    assert found.words.startswith("At step 500:") and "lower optim.lr" in found.remarks[0]
    found = judge_run(run(SOUND, FLAT, FLAT, FLAT, SOUND, SOUND))
    assert found.level == "watch" and found.title.startswith("Recovered: at step 400")


def test_frozen_latents_cannot_collapse():
    assert judge_run(run(*[FLAT] * 6, frozen="timm/vit")).level == "good"


def test_a_predictor_that_does_no_better_than_a_trivial_one():
    found = judge_run(run(*[POOR] * 8))
    assert found.level == "watch" and "trivial" in found.title
    assert judge_run(run(*[POOR] * 6, SOUND, SOUND)).level == "good"


def test_what_was_not_measured_is_not_known():
    found = judge_run(run({}, {}))
    assert found.level == "unknown" and "No gauges" in found.words
    found = judge_run(run(FLAT, FLAT))
    assert found.level == "unknown" and "2 of 3 times" in found.title


def test_an_unfinished_run_that_waits_for_data_and_loses_steps(tmp_path: Path):
    record = run(*[SOUND | {"data_wait": 0.5}] * 3, steps=1000)
    record.metrics.append({"step": 310, "loss": None})
    record.folder = tmp_path
    (tmp_path / "bad_files.jsonl").write_text("{}\n{}\n")
    found = judge_run(record)
    assert found.level == "good"
    wanted = ("step 310 of 1000", "not finite in 1 logged", "50% of the time", "not be used: 2;")
    assert [words in said for words, said in zip(wanted, found.remarks, strict=True)] == [True] * 4
