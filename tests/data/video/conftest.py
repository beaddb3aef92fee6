"""One file of every kind, made once."""

from pathlib import Path

import pytest

from tests.data.made_clips import KINDS, make_video


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a file of each of ``KINDS``, by name; they are not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    return {name: make_video(folder / name, **settings) for name, settings in KINDS.items()}
