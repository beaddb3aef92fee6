"""A planner to be timed, and stable-worldmodel's: its ``CEMSolver`` over its ``LeWM``."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.stopwatch import Stopwatch

PARTS = ("encode", "rollout", "cost")  # what is left is sampling, refitting and book-keeping
ACTION, BLOCK = 2, 5  # numbers an environment step, environment steps a plan step
WIDE = {"heads": 16, "dim_head": 64, "mlp_dim": 2048}  # as LeWM is trained (its published settings)
NARROW = {"heads": 6, "dim_head": 32, "mlp_dim": 768}  # as ours


@dataclass(frozen=True)
class Task:
    """The size of everything."""

    samples: int = 300
    elites: int = 30
    horizon: int = 5
    iterations: int = 10
    history: int = 3
    envs: int = 1
    image: int = 224
    patch: int = 14
    encoder_depth: int = 12
    depth: int = 6
    dim: int = 192


class Watched:
    """A planner: times ``plan`` and the methods of its model that are parts of it, and counts their calls.

    ``parameters`` of encoder and predictor; ``predicted`` latents a candidate.
    """

    parameters: tuple[int, int]
    predicted: int

    def __init__(self, model: nn.Module, methods: Mapping[str, str], clock: str):
        self.watch, self.calls = Stopwatch(clock), Counter[str]()
        for name, part in methods.items():
            setattr(model, name, self._watched(part, getattr(model, name)))

    def _watched(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.calls[part] += 1
            with self.watch.part(part):
                return function(*args, **named)

        return call

    def plan(self) -> Any:
        """Plan once, from pixels."""
        raise NotImplementedError

    def milliseconds(self) -> dict[str, float]:
        """Plan once; return the milliseconds of the whole call, the planner alone, and the parts."""
        self.watch.seconds.clear()
        self.calls.clear()
        with self.watch.part("whole"):
            self.plan()
        found = {part: 1e3 * self.watch.seconds[part] for part in ("whole", *PARTS)}
        rest = found["whole"] - sum(found[part] for part in PARTS)
        return found | {"planner": found["whole"] - found["encode"], "rest": rest}


class Public(Watched):
    """``CEMSolver`` over ``LeWM``; ``inner``: the widths inside its predictor."""

    def __init__(self, task: Task, inner: Mapping[str, int], horizon: int, clock: str):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of environments that are not installed
            from stable_worldmodel import PlanConfig  # pyright: ignore[reportMissingImports]
            from stable_worldmodel.solver import CEMSolver  # pyright: ignore[reportMissingImports]
        model = build_public(task, inner)
        self.parameters = (
            count(model.encoder, model.projector),
            count(model.predictor, model.action_encoder, model.pred_proj),
        )
        self.predicted = horizon - task.history + 1
        space = gymnasium.spaces.Box(-1, 1, (task.envs, ACTION), np.float32)
        self.solver = CEMSolver(model, num_samples=task.samples, n_steps=task.iterations, topk=task.elites)
        plan = PlanConfig(horizon=horizon, receding_horizon=1, action_block=BLOCK)
        self.solver.configure(action_space=space, n_envs=task.envs, config=plan)
        frames = draw_frames(task).float() / 255  # resized and scaled before the solver is called
        self.info = {
            "pixels": frames[:, :-1],
            "goal": frames[:, -1:],
            "action": torch.zeros(task.envs, task.history, ACTION * BLOCK),
        }
        methods = {"encode": "encode", "predict": "rollout", "criterion": "cost"}
        super().__init__(model, methods, clock)

    def plan(self) -> dict:
        """Plan once, from pixels."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
            return self.solver(dict(self.info))


def build_public(task: Task, inner: Mapping[str, int]) -> Any:
    """Build LeWM as its published settings do."""
    import transformers
    from stable_worldmodel.wm.lewm.lewm import LeWM  # pyright: ignore[reportMissingImports]
    from stable_worldmodel.wm.lewm.module import (  # pyright: ignore[reportMissingImports]
        MLP,
        Embedder,
        Predictor,
    )

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=task.dim,
        num_hidden_layers=task.encoder_depth,
        num_attention_heads=3,
        intermediate_size=4 * task.dim,
        image_size=task.image,
        patch_size=task.patch,
    )
    projectors = [MLP(task.dim, 2048, task.dim, norm_fn=nn.BatchNorm1d) for _ in range(2)]
    widths = {"input_dim": task.dim, "hidden_dim": task.dim, "output_dim": task.dim}
    predictor = Predictor(num_frames=task.history, depth=task.depth, dropout=0.1, **widths, **inner)
    embedder = Embedder(input_dim=ACTION * BLOCK, emb_dim=task.dim)
    encoder = transformers.ViTModel(config, add_pooling_layer=False)
    return LeWM(encoder, predictor, embedder, *projectors).eval().requires_grad_(False)


def draw_frames(task: Task) -> Tensor:
    """Return the frames of the history and the goal, uint8 ``[b f c y x]``."""
    generator = torch.Generator().manual_seed(0)
    shape = (task.envs, task.history + 1, 3, task.image, task.image)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def count(*modules: nn.Module) -> int:
    """Return how many parameters modules have."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
