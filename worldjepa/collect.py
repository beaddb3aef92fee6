"""``python -m worldjepa.collect env.id=worldjepa/TwoRooms-v0``: read the settings, then collect episodes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from worldjepa.answering import answer, log_plainly
from worldjepa.settings.commands import compose_collection
from worldjepa.settings.env import CollectConfig, CollectionConfig
from worldjepa.settings.usage import collect_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Collect as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    return answer("collect", argv, collect_usage, compose_collection, _collect)


def _collect(config: CollectConfig) -> int:
    # Gymnasium comes in only now: a wrong word was answered at once
    from worldjepa.data.collection.collect import collect_episodes
    from worldjepa.training.signals import StopRequest

    log_plainly()
    with StopRequest() as stop:
        result = collect_episodes(
            config.env,
            CollectionConfig(config.policy, config.num_episodes),
            root=config.data.root or "",
            size=config.data.size,
            seed=config.seed,
            stop=lambda: stop,
        )
    sys.stdout.write(result.line() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
