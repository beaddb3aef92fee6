"""What every test gets: annotations checked as written, one thread, the real clips where they are."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.checked_types import check_types

check_types()  # before any module of worldjepa is imported

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole runs, which stand at the top and take longest: no process is left alone with them."""
    items.sort(key=lambda item: len(item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keep figures the same on any number of cores, and leave cores to whoever shares the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Return the folder of real video files named by ``WORLDJEPA_TEST_CLIPS``."""
    folder = os.environ.get("WORLDJEPA_TEST_CLIPS")
    if not folder:
        pytest.skip("needs WORLDJEPA_TEST_CLIPS")
    return Path(folder)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render a built-in corpus of a few tiny videos."""
    from worldjepa.data.clips.corpus import ensure_corpus
    from worldjepa.data.clips.scenes import CorpusSettings

    few = CorpusSettings(train_videos=24, val_videos=8, size=32)
    return ensure_corpus(tmp_path_factory.mktemp("corpus"), few)


@pytest.fixture(scope="session")
def world_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Collect, train and measure a tiny world model; return its run folder."""
    from tests.runs import TINY_WORLD
    from worldjepa.train import main

    folder = tmp_path_factory.mktemp("runs") / "point"
    assert main([*TINY_WORLD, f"run.dir={folder}"]) == 0
    return folder
