"""Whether the settings of ``python -m worldjepa.index`` and ``worldjepa.prepare`` make sense. No torch."""

from __future__ import annotations

from worldjepa.settings.corpus import IndexConfig, PrepareConfig
from worldjepa.settings.ranges import at_least, one_of, positive, require
from worldjepa.settings.schema import ConfigError

LAYOUTS = ("auto", "csv", "folders", "flat", "ssv2")
PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow"),
)


def validate_index(config: IndexConfig) -> None:
    """Raise ``ConfigError`` for the first setting of ``python -m worldjepa.index`` that cannot be right."""
    one_of("data.layout", config.data.layout, LAYOUTS)
    at_least("data.num_workers", config.data.num_workers, 1)
    positive("data.timeout_s", config.data.timeout_s)


def validate_prepare(config: PrepareConfig) -> None:
    """Raise ``ConfigError`` for the first setting of ``python -m worldjepa.prepare`` that cannot be right."""
    if not config.out:
        raise ConfigError("out: no folder is named for the store; add one, such as out=/fast/kinetics_256")
    one_of("data.layout", config.data.layout, LAYOUTS)
    at_least("data.size", config.data.size, 16)
    at_least("data.num_workers", config.data.num_workers, 1)
    store = config.prepare
    at_least("prepare.gop", store.gop, 1)
    require(0 <= store.crf <= 51, "prepare.crf", store.crf, "a whole number from 0 (best) to 51")
    one_of("prepare.preset", store.preset, PRESETS)
    positive("prepare.max_share", store.max_share)
    at_least("prepare.shard_mb", store.shard_mb, 1)
    positive("prepare.timeout_s", store.timeout_s)
