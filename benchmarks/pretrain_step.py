"""How fast is a pretraining step, part by part, and against the public V-JEPA 2 step?

    python -m benchmarks.pretrain_step nano:8:64:16 base:16:224:1

Each case is model:frames:side:batch, with the masks of V-JEPA 2. Three steps run in turn, round after round,
on the same clips, masks and starting weights: the public one in float32 (``public_loop.py``), ours in float32
and ours in bf16. The losses must agree (float32 to 1e-5, bf16 to 2e-2 of the loss), at the start and after
updates, or no figure is printed and the exit status is 1. Ratios are taken within a round; medians and
quartiles are reported. On a machine that is busy otherwise, use ``--threads 1 --clock cpu``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import CPU_KERNELS
from benchmarks.machine import describe
from benchmarks.public_loop import PublicStep, public_model
from benchmarks.stopwatch import CLOCKS, Stopwatch, peak_flops
from benchmarks.table import markdown, summarise, write_results
from worldjepa.build import build_model
from worldjepa.build_objective import build_objective, build_strategies
from worldjepa.config import OptimConfig, TrainConfig
from worldjepa.memory import keep_freed_memory
from worldjepa.model.foreign.transformers_folder import from_transformers
from worldjepa.model.masking import draw_masks
from worldjepa.model.world_model import WorldModel
from worldjepa.objectives.masked import MaskedPrediction
from worldjepa.settings.compose import compose
from worldjepa.training.ema import update_target
from worldjepa.training.optim import make_optimizer, set_rates
from worldjepa.types import Masks

PARTS = ("target", "context", "predictor", "loss", "backward", "optimizer", "ema")
TOLERANCE = {"ours fp32": 1e-5, "ours bf16": 2e-2}
MOMENTUM = 0.99925
OPTIM = OptimConfig(lr=1e-4, warmup=0.0, schedule="constant", weight_decay=(0.04, 0.04))


class OurStep:
    """One training step of ``worldjepa``, as ``training/loop.py`` makes it, over ``model``."""

    def __init__(self, config: TrainConfig, model: WorldModel, *, bf16: bool):
        objective = build_objective(config, model).train()
        assert isinstance(objective, MaskedPrediction)
        self.objective = objective
        self.optimizer, self.bf16 = make_optimizer(self.objective, OPTIM), bf16
        set_rates(self.optimizer, 0, 1, OPTIM)

    def __call__(self, frames: torch.Tensor, masks: tuple[Masks, ...], watch: Stopwatch) -> float:
        """Make one update; return the loss."""
        objective = self.objective
        for part in NAMES:
            method = getattr(type(objective), part).__get__(objective)
            setattr(objective, part, watch.timing(NAMES[part], method))
        with watch.part("forward"), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            terms, _ = objective.terms(frames, masks)
            loss = objective.total(terms)
        with watch.part("backward"):
            loss.backward()
        with watch.part("optimizer"):
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            nn.utils.get_total_norm([p.grad for p in parameters])
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        with watch.part("ema"):
            update_target(objective.target_encoder, objective.encoder, MOMENTUM)
        return loss.item()


NAMES = {
    "tubelets": "target",
    "target_latents": "target",
    "context_latents": "context",
    "predict": "predictor",
}


@dataclass
class Measured:
    """What one of the steps gave, round by round: seconds by part, losses, and its operations in a step."""

    flops: float = 0.0
    losses: list[float] = field(default_factory=list)
    rounds: list[dict[str, float]] = field(default_factory=list)

    def seconds(self, part: str) -> list[float]:
        """Return the seconds of ``part`` (or ``step``) in every round."""
        return [each[part] for each in self.rounds]


@dataclass
class Case:
    """A size to measure: a preset, and the shape of its batch of clips."""

    model: str
    frames: int
    side: int
    batch: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read ``model:frames:side:batch``."""
        model, *numbers = text.split(":")
        if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
            raise argparse.ArgumentTypeError(
                f"a case is model:frames:side:batch, such as nano:8:64:16, got {text!r}"
            )
        return cls(model, *map(int, numbers))

    def title(self) -> str:
        """Return the case in words."""
        return f"{self.model}, {self.frames} frames, {self.side} px, batch {self.batch}"

    def config(self) -> TrainConfig:
        """Return the settings of the public recipe at this size."""
        words = ["+experiment=vjepa2", f"model={self.model}", f"data.num_frames={self.frames}"]
        return compose([*words, f"data.size={self.side}", f"train.batch_size={self.batch}"])


def build_steps(config: TrainConfig) -> dict[str, PublicStep | OurStep]:
    """Build the steps to compare, each with its own copy of the same weights, large enough to matter."""
    torch.manual_seed(0)
    theirs = public_model(config)
    for name, parameter in theirs.named_parameters():
        scale = parameter[0].numel() ** -0.5 if name.endswith("weight") and parameter.ndim > 1 else 0.1
        nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=scale)
    tensors = from_transformers(theirs.state_dict(), theirs.config.to_dict()).tensors
    steps: dict[str, PublicStep | OurStep] = {}
    for name in TOLERANCE:
        model = build_model(config)
        model.load_state_dict(tensors)
        steps[name] = OurStep(config, model, bf16=name.endswith("bf16"))
    public = PublicStep(theirs, lr=OPTIM.lr or 0.0, weight_decay=OPTIM.weight_decay[0], momentum=MOMENTUM)
    return {"public fp32": public, **steps}


def measure(case: Case, *, rounds: int, clock: str) -> tuple[dict[str, Measured], dict[str, list[float]]]:
    """Run the steps in turn; return what each gave, and the peaks (operations a second) of each round."""
    config = case.config()
    steps = build_steps(config)
    results = {name: Measured() for name in steps}
    peaks: dict[str, list[float]] = {"fp32": [], "bf16": []}
    frames = torch.randn(case.batch, case.frames, 3, case.side, case.side)
    grid = build_model(config).encoder.grid(frames)
    masks = draw_masks(build_strategies(config), grid, case.batch, seed=0, step=0)
    for index in range(rounds + 1):  # the first warms up and counts operations
        if index:
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
                peaks[name].append(peak_flops(dtype, clock))
        order = list(steps)[index % 3 :] + list(steps)[: index % 3]
        for name in order:
            result, watch = results[name], Stopwatch(clock)
            if index == 0:
                with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
                    result.losses.append(steps[name](frames, masks, watch))
                result.flops = counter.get_total_flops()
                continue
            with watch.part("step"):
                result.losses.append(steps[name](frames, masks, watch))
            result.rounds.append(parts_of(watch))
    return results, peaks


def parts_of(watch: Stopwatch) -> dict[str, float]:
    """Return the seconds of every part; what is left of our forward pass is the loss."""
    seconds = dict(watch.seconds)
    forward = seconds.pop("forward", None)
    if forward is not None:
        seconds["loss"] = forward - sum(seconds.get(part, 0.0) for part in set(NAMES.values()))
    return {"step": seconds["step"]} | {part: seconds.get(part, 0.0) for part in PARTS}


def disagreement(results: dict[str, Measured]) -> str | None:
    """Return where a loss differs from the public step's by more than it may, if it does anywhere."""
    for name, tolerance in TOLERANCE.items():
        pairs = zip(results[name].losses, results["public fp32"].losses, strict=True)
        for update, (mine, theirs) in enumerate(pairs):
            if not abs(mine - theirs) <= tolerance * abs(theirs):
                return (
                    f"{name}: the loss after {update} updates is {mine:.7f}, the public step's {theirs:.7f}; "
                    f"they may differ by {tolerance:g} of it"
                )
    return None


def heading(circumstances: dict[str, str]) -> str:
    """Return what stands above the tables: what was compared, and how."""
    named = "\n".join(f"- {key}: {value}" for key, value in circumstances.items())
    return f"""# A pretraining step, ours and the public one

One update of masked pretraining with the two mask settings of V-JEPA 2, against `transformers.VJEPA2Model` in
float32 with SDPA, driven as the public loop is: same clips, masks and weights, losses equal at every update
(float32 to 1e-5, bf16 to 2e-2). The steps ran in turn; times are medians over the rounds, ratios are taken
within a round and given as median (lower-upper quartile). `target` is the encoder's forward pass over whole
clips. Operations are those of matrix products, as executed; the peak is that of a product of 2048 x 2048
matrices in the same round.

{named}"""


def main(argv: list[str] | None = None) -> int:
    """Measure every case; write the table if all losses agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="+", type=Case.parse, metavar="model:frames:side:batch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: on a shared machine, with --threads 1"
    )
    parser.add_argument(
        "--out", help="write <out>.md and <out>.json, such as benchmarks/results/pretrain_step"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the training command does; the public step gains by it too
    cases, tables = {}, []
    for case in options.cases:
        results, peaks = measure(case, rounds=options.rounds, clock=options.clock)
        wrong = disagreement(results)
        if wrong:
            print(f"no figures: {case.title()}: {wrong}", file=sys.stderr)
            return 1
        cases[case.title()] = summarise(results, peaks, PARTS)
        tables.append(markdown(case.title(), cases[case.title()], PARTS))
    command = "python -m benchmarks.pretrain_step " + " ".join(sys.argv[1:] if argv is None else argv)
    circumstances = describe(command, options.threads, options.clock) | {"rounds": str(options.rounds)}
    text = "\n\n".join([heading(circumstances), *tables]) + "\n"
    print(text)
    if options.out:
        write_results(circumstances, cases, text, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
