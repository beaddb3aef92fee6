"""A few recorded episodes that several tests read."""

import pytest

from tests.evaluation.recorded import ground_of, record
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.evaluation.goals import Ground


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """Return 12 scripted episodes of TwoRooms of 40 steps or a little less."""
    return record(tmp_path_factory.mktemp("recorded"), episodes=12, steps=40)


@pytest.fixture(scope="session")
def ground(store: EpisodeStore) -> Ground:
    """Return them as ground for tasks."""
    return ground_of(store)
