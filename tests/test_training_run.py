"""Whole runs at a tiny size, through the command's own entry: train, resume, refuse, survive."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

import worldjepa
from tests.forks import Fork
from tests.runs import TINY, count_lines, wait_for, weights
from worldjepa.artifact import latest_checkpoint
from worldjepa.train import main


@pytest.fixture
def command(corpus, tmp_path):
    """Words of a tiny run in ``tmp_path/run``; later words win."""

    def words(*more):
        return [*TINY, f"data.root={corpus}", f"run.dir={tmp_path / 'run'}", *more]

    return words


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "run"


def test_a_run_leaves_a_model_that_loads_and_a_folder_that_explains_itself(command, run_dir, capsys):
    assert main(command()) == 0
    said = capsys.readouterr().out
    assert "linear probe" in said and "chance" in said and str(run_dir) in said.replace("\n", "")
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [2, 4, 6, 8, 10, 12]
    assert all(0 < r["loss"] < 2 and r["loss"] == pytest.approx(r["prediction"]) for r in records)
    assert {"std", "effective_rank", "cosine", "copy_nearest", "mean_latent"} <= records[-1].keys()
    names = {path.name for path in run_dir.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "files.jsonl",
        "labels.json",
        "pictures",
        "tensorboard",
    } <= names
    assert {p.name for p in (run_dir / "pictures").iterdir()} == {
        "masks_00000012.png",
        "latents_00000012.png",
    }
    model = worldjepa.load(run_dir, device="cpu")
    latents = model.encode(torch.zeros(2, 4, 3, 50, 40, dtype=torch.uint8))
    assert latents.shape == (2, 2, 4, 32) and not model.training
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None
    again = worldjepa.load(checkpoint, device="cpu").encode(torch.zeros(2, 4, 3, 32, 32))
    assert torch.equal(latents, again)
    before = weights(run_dir)
    assert main(command()) == 0  # the same command on a finished run
    assert weights(run_dir) == before


def test_another_setting_or_another_file_list_is_refused_by_name(command, run_dir, corpus, tmp_path, capsys):
    assert main(command("train.steps=4")) == 0
    assert main(command("train.steps=4", "optim.weight_decay=[0.1,0.1]", "train.log_every=1")) == 2
    said = capsys.readouterr().err
    assert "optim.weight_decay" in said and "log_every" not in said
    copied = tmp_path / "corpus"
    shutil.copytree(corpus, copied)
    assert main([*command("train.steps=4"), f"data.root={copied}"]) == 0  # a corpus may be moved
    next(copied.rglob("*.mp4")).unlink()  # and not altered
    assert main([*command("train.steps=4"), f"data.root={copied}"]) == 2
    assert f"the files of {copied} are not those" in capsys.readouterr().err


def test_a_second_run_in_the_same_folder_is_refused(command, run_dir, capfd):
    first = Fork(main, command("train.steps=4000", "data.num_workers=1"))
    try:
        wait_for(lambda: (run_dir / "metrics.jsonl").exists())
        assert main(command("train.steps=4000")) == 2
        assert f"{first.pid}" in capfd.readouterr().err
    finally:
        first.send_signal(signal.SIGTERM)
        said, error = first.communicate(timeout=90)
    assert first.returncode == 0, error
    assert "the same command continues" in said and "Traceback" not in error
    assert latest_checkpoint(run_dir) is not None


def test_killed_anywhere_it_ends_with_the_same_weights(command, run_dir, tmp_path):
    """SIGKILL at random points, with worker processes, also amid epochs and while checkpoints are written."""
    words = command("train.steps=30", "train.checkpoint_every=3", "data.num_workers=1", "train.log_every=1")
    undisturbed = [*words, f"run.dir={tmp_path / 'undisturbed'}"]
    process = Fork(main, undisturbed)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    draw = random.Random(0)
    for kill_after in (2, 16):
        process = Fork(main, words)
        while process.poll() is None and count_lines(run_dir / "metrics.jsonl") < kill_after:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.1)
        process.kill()
        process.communicate(timeout=30)
    process = Fork(main, words)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert weights(run_dir) == weights(tmp_path / "undisturbed")
    steps = [json.loads(line)["step"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 31))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_cleanly_also_with_workers(command, run_dir, number):
    words = command("train.steps=4000", "data.num_workers=2", "train.checkpoint_every=100000")
    process = Fork(main, words)
    wait_for(lambda: (run_dir / "metrics.jsonl").exists() and (run_dir / "metrics.jsonl").read_text())
    process.send_signal(number)
    said, error = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in error, error
    assert "the same command continues" in said
    assert latest_checkpoint(run_dir) is not None


def test_a_loss_that_is_not_finite_is_reported_skipped_and_then_ends_the_run(command, run_dir, capfd):
    code = main(command("optim.lr=1e30", "optim.warmup=0.0", "train.max_skipped=2", "train.steps=30"))
    captured = capfd.readouterr()
    assert code == 2
    assert "not finite" in captured.err and "train.max_skipped=2" in captured.err
    assert ".mp4" in captured.out and "no update was made" in captured.out


def test_a_skipped_step_moves_neither_weights_nor_target(command, corpus, run_dir, monkeypatch):
    from worldjepa.training import loop

    trainer = tiny_trainer(command)
    batches = trainer.batches(0)
    batch = next(batches)
    batches.close()
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    original = loop.Trainer._accumulate

    def poisoned(self, batch, masks):
        metrics, seen = original(self, batch, masks)
        next(self.objective.predictor.parameters()).grad.fill_(float("inf"))
        return metrics, seen

    monkeypatch.setattr(loop.Trainer, "_accumulate", poisoned)
    result = trainer.train_step(batch, trainer._masks(batch))
    assert not result.finite
    assert all(torch.equal(before[name], tensor) for name, tensor in trainer.model.state_dict().items())


def tiny_trainer(command, *more):
    from worldjepa.settings.compose import compose, fill
    from worldjepa.stages import build_trainer
    from worldjepa.uses import VideoUse

    words = command(*more)
    config, _ = fill(compose(words), words, "cpu")
    run_dir = Path(config.run.dir or "")
    run_dir.mkdir(parents=True, exist_ok=True)
    return build_trainer(VideoUse.find(config), run_dir, torch.device("cpu"))


def test_accumulated_gradients_equal_the_whole_batch(command):
    def gradients(accumulate):
        trainer = tiny_trainer(command, f"train.accumulate={accumulate}", "train.precision=fp32")
        with trainer.batches(0) as batches:
            batch = next(batches)
        trainer._accumulate(batch, trainer._masks(batch))
        return [p.grad for p in trainer.objective.parameters() if p.grad is not None]

    for whole, parts in zip(gradients(1), gradients(4), strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-7)


def test_a_failing_write_keeps_the_run_going(command, run_dir, monkeypatch, capfd):
    from worldjepa.artifact import CheckpointWriteError
    from worldjepa.training import loop

    saved, real = [], loop.save_checkpoint

    def full_at_first(folder, step, **rest):
        saved.append(step)
        if step == 4:
            raise CheckpointWriteError("no space left on the device; the previous checkpoint stands")
        return real(folder, step, **rest)

    monkeypatch.setattr(loop, "save_checkpoint", full_at_first)
    assert main(command()) == 0
    assert saved == [4, 8, 12]
    assert "WARNING: no space left" in capfd.readouterr().out


def test_a_collapsing_run_raises_the_alarm(command, capfd):
    """A weight decay that forgets faster than the loss can learn, and a target that follows at once."""
    words = command(
        "optim.ema=[0.0,0.0]",
        "optim.lr=0.001",
        "optim.warmup=0.0",
        "optim.schedule=constant",
        "optim.weight_decay=[500.0,500.0]",
        "train.steps=110",
        "train.log_every=20",
        "train.health_every=5",
        "train.batch_size=8",
        "train.precision=fp32",
    )
    assert main(words) == 0
    said = capfd.readouterr().out
    assert "ALARM: Clips have become alike" in said and "optim.ema" in said


def test_loading_takes_any_name_of_the_checkpoint_and_refuses_half_of_it(command, run_dir, tmp_path):
    assert main(command("train.steps=2")) == 0
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None
    renamed = shutil.copytree(checkpoint, tmp_path / "best")
    frames = torch.rand(1, 4, 3, 32, 32)
    expected = worldjepa.load(run_dir, device="cpu").encode(frames)
    for path in (checkpoint, renamed, run_dir / "checkpoints"):
        assert torch.equal(worldjepa.load(path, device="cpu").encode(frames), expected)
    for name in ("model.safetensors", "config.yaml"):
        half = shutil.copytree(checkpoint, tmp_path / "half" / name)
        (half / name).unlink()
        with pytest.raises(ValueError, match=f"lacks {name}, which its manifest lists"):
            worldjepa.load(half)
    with pytest.raises(ValueError, match="no such folder; pass a run folder"):
        worldjepa.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is a file; pass a run folder"):
        worldjepa.load(run_dir / "config.yaml")
    with pytest.raises(ValueError, match="device=gpu: expected auto, cpu or cuda"):
        worldjepa.load(run_dir, device="gpu")


def test_from_config_minds_the_device_and_the_form_of_its_overrides(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device=cuda: torch finds no GPU"):
        worldjepa.from_config("kinetics", ["device=cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # then auto would take the GPU's sizes
    model = worldjepa.from_config("kinetics", ["device=cpu", "model=nano"])
    assert model.image_size == 64
    with pytest.raises(ValueError, match="expected a list of words"):
        worldjepa.from_config("kinetics", "model=nano")
