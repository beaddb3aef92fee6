"""A vector environment of an id's own: the same episodes as of single ones, and what happens if it breaks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data import made_envs
from tests.data.collecting import BATCHED, MADE, collect, content, lost
from tests.data.made_envs import STEPS
from worldjepa.data.collection.collect import describe_env
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.settings.env import EnvConfig


@pytest.mark.parametrize("policy", ["random", "smooth", "tests.data.made_envs:from_info"])
def test_a_batch_collects_what_single_environments_do(tmp_path: Path, policy: str):
    collect(tmp_path / "batch", BATCHED, 7, policy=policy)
    collect(tmp_path / "single", MADE, 7, policy=policy)
    assert content(tmp_path / "batch") == content(tmp_path / "single")


def test_our_environments_are_collected_as_a_batch(tmp_path: Path):
    env = EnvConfig(id="worldjepa/Point-v0", state=["position"])
    for num_envs in (1, 5):
        collect(tmp_path / str(num_envs), replace(env, num_envs=num_envs), 7, policy="scripted")
    assert content(tmp_path / "1") == content(tmp_path / "5")
    assert describe_env(env, policy="scripted").batched


def test_a_batch_that_breaks_is_replaced_by_single_environments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    result = collect(tmp_path / "broken", replace(BATCHED, kwargs={"breaks_at": 6}), 7)
    assert (result.written, result.steps) == (7, 7 * STEPS)
    assert "the batch broke" in caplog.text
    collect(tmp_path / "whole", BATCHED, 7)
    assert content(tmp_path / "broken") == content(tmp_path / "whole")


def test_not_finite_rewards_lose_a_row_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = made_envs.Made.step

    def nan_at_times(self, action):
        result = plain(self, action)
        return (result[0], np.nan if self.seed % 3 == 0 and self.count == 2 else result[1], *result[2:])

    monkeypatch.setattr(made_envs.Made, "step", nan_at_times)
    collect(tmp_path, BATCHED, 4, seed=11)
    assert {each["reason"] for each in lost(tmp_path)} == {"step: reward is not finite"}
    assert all(seed is not None and seed % 3 for seed in EpisodeStore.open(tmp_path).seeds)
