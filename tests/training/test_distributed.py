"""Two gloo processes against one."""

import json
import os
import time

import pytest
import torch

from tests.forks import fork_ranks
from worldjepa.training import distributed as ranks


def statistic(mean):
    """Stand for a loss on batch statistics that is not linear in them."""
    return (mean**3).sum() + mean.prod()


def rows():
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def work(folder):
    """Use every function with two ranks; write what came out for the test to judge."""
    with ranks.process_group("cpu", timeout=20) as device:
        me = ranks.rank()
        weight = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
        local = (rows()[4 * me : 4 * me + 4] * weight).tanh()
        mean = ranks.all_reduce_mean(local.mean(dim=0))
        # a part that is the same on all ranks and a part of this rank's own
        (statistic(mean) + (1 + me) * (local * mean).sum(dim=1).mean()).backward()
        assert weight.grad is not None
        gradient = ranks.all_reduce_mean(weight.grad)  # as DDP averages parameter gradients
        seen = {
            "mean": mean.tolist(),
            "gradient": gradient.tolist(),
            "all": [ranks.all_true(True), ranks.all_true(me == 0), ranks.all_true(me == 1)],
            "gathered": ranks.gather_objects({"rank": me, "name": "x" * 50 * me}),
            "main": ranks.is_main(),
            "world": ranks.world_size(),
            "device": str(device),
        }
        flag = folder / "made"
        with ranks.main_first(timeout=20):
            if me == 0:
                time.sleep(0.3)
                flag.write_text("by main")
            seen["found"] = flag.read_text()
        (folder / f"{me}.json").write_text(json.dumps(seen))
    assert ranks.world_size() == 1


def die(folder):
    """Rank 1 is late for a barrier, then vanishes; rank 0 must get an error for both, soon."""
    with ranks.process_group("cpu", timeout=30):
        if ranks.rank() == 1:
            time.sleep(2)
            os._exit(3)
        with pytest.raises(RuntimeError, match=r"Ranks 1 failed to pass monitoredBarrier in 500 ms"):
            ranks.barrier(0.5)
        (folder / "named").touch()
        ranks.all_reduce_mean(torch.ones(3))


def both(job, folder):
    """Return what each of two ranks at ``job`` said of an error, and its exit status."""
    return [(p.communicate(timeout=60)[1], p.returncode) for p in fork_ranks(job, folder)]


def test_two_ranks_equal_one_process(tmp_path):
    for said, code in both(work, tmp_path):
        assert code == 0, said
    seen = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    weight = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    values = (rows() * weight).tanh()
    mean = values.mean(dim=0)
    own = [(1 + r) * (values[4 * r : 4 * r + 4] * mean).sum(dim=1).mean() for r in range(2)]
    (statistic(mean) + (own[0] + own[1]) / 2).backward()
    assert weight.grad is not None
    for rank, one in enumerate(seen):
        assert one["mean"] == pytest.approx(mean.tolist(), rel=1e-12)
        assert one["gradient"] == pytest.approx(weight.grad.tolist(), rel=1e-12)
        assert one["all"] == [True, False, False]
        assert one["gathered"] == [{"rank": 0, "name": ""}, {"rank": 1, "name": "x" * 50}]
        assert one["main"] == (rank == 0)
        assert (one["world"], one["device"], one["found"]) == (2, "cpu", "by main")


def test_a_missing_peer_is_named_and_a_dead_one_raises_instead_of_hanging(tmp_path):
    began = time.monotonic()
    (said, code), (_, dead) = both(die, tmp_path)
    assert (tmp_path / "named").exists(), said
    assert dead == 3
    assert code == 1
    assert "all_reduce" in said
    assert "RuntimeError" in said or "DistBackendError" in said
    assert time.monotonic() - began < 25  # well before the timeout of 30 s


def test_without_a_group_this_is_the_only_rank():
    values = torch.randn(3, requires_grad=True)
    assert ranks.all_reduce_mean(values) is values
    assert (ranks.rank(), ranks.world_size(), ranks.is_main()) == (0, 1, True)
    assert ranks.all_true(True)
    assert not ranks.all_true(False)
    assert ranks.gather_objects((1, "a")) == [[1, "a"]]
    ranks.barrier()
    with ranks.main_first():
        pass
    with ranks.process_group("cpu") as device:
        assert device == torch.device("cpu")
        assert not torch.distributed.is_initialized()
