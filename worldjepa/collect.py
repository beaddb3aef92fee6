"""``python -m worldjepa.collect env.id=worldjepa/TwoRooms-v0``: read the settings, then collect episodes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import yaml

from worldjepa.refusals import guarded, refuse
from worldjepa.settings.commands import compose_collection
from worldjepa.settings.env import CollectConfig, CollectionConfig
from worldjepa.settings.overrides import read_flags
from worldjepa.settings.schema import ConfigError, to_dict
from worldjepa.settings.usage import collect_usage


def main(argv: Sequence[str] | None = None) -> int:
    """Collect as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = read_flags(argv)[0]
        if flags.help:
            sys.stdout.write(collect_usage() + "\n")
            return 0
        config = compose_collection(argv)
        if flags.show:
            sys.stdout.write(yaml.safe_dump(to_dict(config), sort_keys=False))
            return 0
    except ConfigError as error:
        return refuse("collect", error, 2)
    return guarded("collect", lambda: _collect(config))


def _collect(config: CollectConfig) -> int:
    # Gymnasium comes in only now: a wrong word was answered at once
    from worldjepa.data.collection.collect import collect_episodes
    from worldjepa.training.signals import StopRequest

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
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
