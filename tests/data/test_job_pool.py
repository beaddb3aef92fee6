"""Jobs in processes: in order, and one that dies, hangs or raises does no harm to the others."""

import math
import time

import pytest

from worldjepa.data.job_pool import JobError, Lost, run_jobs


def test_results_come_in_the_order_of_the_jobs():
    jobs = list(range(20))
    assert list(run_jobs("math:factorial", jobs, processes=2, ahead=5)) == [math.factorial(n) for n in jobs]
    assert list(run_jobs("math:factorial", [], processes=2)) == []


def test_a_process_that_dies_or_hangs_costs_its_job_only():
    """Job 3 ends its process; 60 would sleep for a minute."""
    died = list(run_jobs("os:_exit", [3], processes=1))
    assert died == [Lost("the process that read it ended with exit code 3")]
    began = time.monotonic()
    slept = list(run_jobs("time:sleep", [0.0, 60, 0.0], processes=1, timeout_s=2.0))
    assert slept == [None, Lost("reading it took longer than 2 s"), None]
    assert time.monotonic() - began < 20


def test_a_signal_is_named():
    died = list(run_jobs("signal:raise_signal", [9], processes=1))
    assert died == [Lost("the process that read it died of SIGKILL")]


def test_a_job_that_raises_is_our_fault_and_says_so():
    with pytest.raises(JobError, match="ValueError"):
        list(run_jobs("math:factorial", [-1], processes=1))
