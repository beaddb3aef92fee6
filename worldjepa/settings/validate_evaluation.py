"""Whether the settings of ``python -m worldjepa.evaluate`` and ``report`` make sense. No torch."""

from __future__ import annotations

from worldjepa.settings.evaluation import BESIDE, PROBES, EvaluateConfig
from worldjepa.settings.ranges import at_least, one_of, positive, require
from worldjepa.settings.report import ReportConfig

DEVICES = ("auto", "cpu", "cuda")
LAYOUTS = ("auto", "csv", "folders", "flat", "ssv2", "images")


def validate_evaluation(config: EvaluateConfig) -> None:
    """Raise ``ConfigError`` for the first setting that cannot be right."""
    at_least("seed", config.seed, 0)
    one_of("device", config.device, DEVICES, "; choose one GPU with CUDA_VISIBLE_DEVICES")
    one_of("data.layout", config.data.layout, LAYOUTS)
    alone = config.data.root is None and config.data.val_root is not None
    require(not alone, "data.val_root", config.data.val_root, "data.root beside it, to fit to")
    require(bool(config.probes), "probe", config.probe, f"one or more of {', '.join(PROBES)}")
    for name in config.probes:
        one_of("probe", name, (*PROBES, "quick", "all"))
    settings = config.eval
    for name in settings.beside:
        one_of("eval.beside", name, BESIDE)
    for name in ("clips", "segments", "crops", "depth", "heads", "epochs", "dense_epochs", "twins"):
        at_least(f"eval.{name}", getattr(settings, name), 1)
    for name in ("lrs", "dense_lrs", "weight_decays"):
        require(bool(getattr(settings, name)), f"eval.{name}", getattr(settings, name), "one value or more")
    for name in ("lrs", "dense_lrs"):
        for lr in getattr(settings, name):
            positive(f"eval.{name}", lr)
    for decay in settings.weight_decays:
        at_least("eval.weight_decays", decay, 0)


def validate_report(config: ReportConfig) -> None:
    """Raise ``ConfigError`` for the first setting that cannot be right."""
    example = "the folder of a run, such as run.dir=runs/kinetics"
    require(config.run.dir is not None, "run.dir", "null", example)
    one_of("device", config.device, DEVICES, "; choose one GPU with CUDA_VISIBLE_DEVICES")
    at_least("clips", config.clips, 1)
