"""``python -m worldjepa.train +experiment=kinetics``: read the settings, then train."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import yaml

from worldjepa.config import TrainConfig
from worldjepa.refusals import guarded, refuse
from worldjepa.settings.compose import compose
from worldjepa.settings.overrides import read_flags
from worldjepa.settings.schema import ConfigError, to_dict
from worldjepa.settings.usage import train_usage
from worldjepa.settings.validate import require_data


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        flags = read_flags(argv)[0]
        if flags.help:
            sys.stdout.write(train_usage() + "\n")
            return 0
        config = compose(argv)
        if flags.show:
            sys.stdout.write(yaml.safe_dump(to_dict(config), sort_keys=False))
            return 0
        require_data(config)
    except ConfigError as error:
        return refuse("train", error, 2)
    return _train(config, argv)


def _train(config: TrainConfig, argv: list[str]) -> int:
    # torch comes in only now: a wrong word was answered at once
    if config.agent.rounds:
        from worldjepa.online import run_online as run
    else:
        from worldjepa.stages import run_training as run

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    one_voice = os.environ.get("RANK", "0") == "0"  # the ranks of torchrun would say everything at once
    logging.getLogger("worldjepa").setLevel(logging.INFO if one_voice else logging.ERROR)
    # an interruption comes here outside the loop, which saves first; or it is the second one
    return guarded("train", lambda: run(config, argv))


if __name__ == "__main__":
    sys.exit(main())
