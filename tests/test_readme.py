"""The README's examples run as they stand there."""

import re
from pathlib import Path

import pytest
import torch

import worldjepa

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"<!-- test:(\w+) -->\n```python\n(.*?)\n```\n<!-- test:end -->", README, re.DOTALL)
)


def run(name: str, **given):
    """Run an example and return the names it defines."""
    names = dict(given)
    exec(compile(EXAMPLES[name], f"README.md, {name}", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_is_loaded_and_rolled_out(world_run, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "two_rooms").symlink_to(world_run)
    frames = torch.randint(0, 256, (2, 3, 3, 16, 16), dtype=torch.uint8)
    found = run("rollout", worldjepa=worldjepa, frames=frames, actions=torch.zeros(2, 7, 4, 4))
    assert found["futures"].shape == (2, 7, 4, *found["latents"].shape[2:])


def test_a_model_is_built_and_used_without_settings_files():
    found = run("notebook")
    assert found["best"].shape == (16, 3, 4)
    assert found["cost"].isfinite().all()
    gradients = [p.grad.abs().max() for p in found["model"].parameters() if p.grad is not None]
    assert len(gradients) > 20 and max(gradients) > 0
