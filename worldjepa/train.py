"""``python -m worldjepa.train +experiment=kinetics``: read the settings, then train."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from worldjepa.answering import answer, log_plainly
from worldjepa.config import TrainConfig
from worldjepa.settings.compose import compose
from worldjepa.settings.usage import train_usage
from worldjepa.settings.validate import require_data


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the words of ``argv`` say and return the exit code: 2 for a mistake of the caller's."""
    words = list(sys.argv[1:] if argv is None else argv)
    return answer("train", words, train_usage, compose, lambda config: _train(config, words))


def _train(config: TrainConfig, words: list[str]) -> int:
    require_data(config)
    # torch comes in only now: a wrong word was answered at once
    if config.agent.rounds:
        from worldjepa.online import run_online as run
    else:
        from worldjepa.stages import run_training as run

    one_voice = os.environ.get("RANK", "0") == "0"  # the ranks of torchrun would say everything at once
    log_plainly(logging.INFO if one_voice else logging.ERROR)
    # an interruption leaves it only outside the loop, which saves first; or it is the second one
    return run(config, words)


if __name__ == "__main__":
    sys.exit(main())
