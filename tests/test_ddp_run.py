"""Two ranks give what one process gives with the same global batch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.forks import Fork, fork_ranks
from tests.runs import TINY, wait_for
from worldjepa.artifact import latest_checkpoint
from worldjepa.train import main


def torchrun(words, ranks=2):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.Popen(
        [*launch, "-m", "worldjepa.train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def tensors(run_dir, name):
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None
    return load_file(checkpoint / name)


@pytest.fixture
def words(corpus, tmp_path):
    terms = [f"+objective.weights.{term}" for term in ("variance=0.5", "covariance=0.1", "sigreg=0.05")]
    optim = ["optim.lr=1e-3", "optim.warmup=0.0", "train.precision=fp32"]
    common = [*TINY, f"data.root={corpus}", *optim, *terms]
    return lambda run, *more: [*common, f"run.dir={tmp_path / run}", *more]


def run_both(words, tmp_path, *more):
    """Train the same settings with one process and with two ranks, batch statistics included."""
    single, double = Fork(main, words("single", *more)), fork_ranks(main, words("double", *more))
    for process in (single, *double):
        _, error = process.communicate(timeout=180)
        assert process.returncode == 0, error
    return tmp_path / "single", tmp_path / "double"


def test_first_gradients_and_weights_after_ten_steps_agree(words, tmp_path):
    saving = ["train.checkpoint_every=1", "train.keep_last=10"]
    single, double = run_both(words, tmp_path, "train.steps=10", *saving)
    first = "checkpoints/step_00000001/train_state.safetensors"
    ours, theirs = load_file(double / first), load_file(single / first)
    moments = [name for name in theirs if name.startswith("optim.exp_avg.")]  # a tenth of the first gradient
    assert len(moments) > 20
    scale = max(float(theirs[name].abs().max()) for name in moments)
    for name in moments:
        assert float((ours[name] - theirs[name]).abs().max()) < 1e-5 * scale, name
    ours, theirs = tensors(double, "model.safetensors"), tensors(single, "model.safetensors")
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-4, rtol=0, msg=name)


def test_a_dead_rank_ends_the_others(words, tmp_path):
    process = torchrun(words("run", "train.steps=100000"))
    try:
        wait_for(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
        processes = [p for p in Path("/proc").iterdir() if p.name.isdigit()]
        ranks = [int(p.name) for p in processes if child_of(p, process.pid)]
        assert len(ranks) == 2
        time.sleep(0.5)
        os.kill(ranks[1], signal.SIGKILL)
        said, _ = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait(timeout=30)
    assert process.returncode != 0
    assert "SIGKILL" in said or "exitcode: -9" in said.replace(" ", "").replace("exitcode:", "exitcode: ")


def child_of(entry, parent):
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent
    except (OSError, ValueError):
        return False
