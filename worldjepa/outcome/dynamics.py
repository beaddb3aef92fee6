"""What a world model's run learnt: how far its predictions hold, and if the true state is in its latents."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from worldjepa.artifact import latest_checkpoint, write_file
from worldjepa.config import TrainConfig
from worldjepa.evaluation.rollouts import RolledOut, RolloutErrors, roll_out
from worldjepa.evaluation.states import fit_state_probe
from worldjepa.loading import load
from worldjepa.model.world_model import WorldModel
from worldjepa.outcome.labels import say_end
from worldjepa.run_episodes import BATCH, EpisodeData, windows_in_order

logger = logging.getLogger(__name__)
CONTEXT, HORIZON = 3, 10  # latent steps given and predicted, where the episodes are long enough
BATCHES = 8  # of windows
PROBED = 4096  # observations that a state probe is fitted to, and half as many to judge it by
ROOM = 2**30  # bytes of latents kept at once; where a latent step is wide (all patches), fewer are judged
SHOWN = (1, 2, 3, 5, 7, 10)  # latent steps ahead that the tables show; the file has all
RESULT = "dynamics.json"


@dataclass(frozen=True)
class StateErrors:
    """Root mean squared error of a ridge fit on held-out episodes, for each component of the true state.

    ``rmse``: read from encoded latents; ``ahead[i]``: from latents predicted ``i + 1`` steps ahead;
    ``spread``: the component's standard deviation, what a constant guess scores.
    """

    names: tuple[str, ...]
    rmse: tuple[float, ...]
    spread: tuple[float, ...]
    ahead: tuple[tuple[float, ...], ...]


def evaluate_dynamics(config: TrainConfig, data: EpisodeData, run_dir: Path, device: torch.device) -> None:
    """Measure the last checkpoint on held-out episodes, print it, and store it in ``dynamics.json``."""
    console = Console(highlight=False)
    steps = _num_steps(config, data)
    if steps < 2:
        console.print("no rollout error: no held-out episode is two latent steps long", markup=False)
    else:
        checkpoint = latest_checkpoint(run_dir)
        assert checkpoint is not None
        model = load(checkpoint, device=device.type)
        rolled = _rolled_out(config, data, model, data.held_out, steps)
        errors, state = rolled.errors(), _state_errors(config, data, model, rolled)
        result = {"rollout": errors.to_dict(), "state": None if state is None else asdict(state)}
        write_file(run_dir / RESULT, json.dumps(result, indent=2) + "\n")
        console.print(rollout_table(errors))
        if state is not None:
            console.print(state_table(state))
    say_end(console, run_dir)


def rollout_table(errors: RolloutErrors) -> Table:
    """Lay out the rollout errors by horizon."""
    table = Table(
        title=f"Rollout error by steps ahead: {errors.context} given, {errors.windows} held-out windows",
        caption="squared error as a share of the latents' variance: the mean latent scores 1",
    )
    far = len(errors.predicted)
    shown = [ahead for ahead in SHOWN if ahead <= far]
    table.add_column("prediction", no_wrap=True)
    for ahead in shown:
        table.add_column(str(ahead), justify="right", no_wrap=True)
    rows = (("model", errors.predicted), ("shuffled actions", errors.shuffled), ("copy last", errors.copied))
    for name, values in rows:
        if values is not None:
            table.add_row(name, *(f"{values[ahead - 1]:.3g}" for ahead in shown))
    return table


def state_table(state: StateErrors) -> Table:
    """Lay out how exactly the true state is read from latents."""
    table = Table(
        title="True state read from latents by a ridge fit, held-out episodes",
        caption="root mean squared error in the state's units; a constant guess scores the spread",
    )
    shown = [ahead for ahead in SHOWN[::2] if ahead <= len(state.ahead)]
    for heading in ("component", "encoded", *(f"{ahead} ahead" for ahead in shown), "spread"):
        table.add_column(heading, justify="left" if heading == "component" else "right", no_wrap=True)
    for index, name in enumerate(state.names):
        ahead = [state.ahead[i - 1][index] for i in shown]
        numbers = (state.rmse[index], *ahead, state.spread[index])
        table.add_row(name, *(f"{number:.3g}" for number in numbers))
    return table


def _num_steps(config: TrainConfig, data: EpisodeData) -> int:
    """Return how long the windows to judge by may be, so that half of the held-out episodes have one."""
    if not data.held_out:
        return 0
    usual = int(np.median(data.episodes.lengths[data.held_out]))
    return min(CONTEXT + HORIZON, usual // config.model.action_block + 1)


def _rolled_out(
    config: TrainConfig, data: EpisodeData, model: WorldModel, ids: list[int], steps: int
) -> RolledOut:
    stride = max(1, (steps - 1) * config.model.action_block // 2)
    batches = max(1, _with_room(model, BATCH * BATCHES * steps) // (BATCH * steps))
    with windows_in_order(config, data, ids, num_steps=steps, stride=stride) as windows:
        return roll_out(model, islice(windows, batches), context=min(CONTEXT, steps - 1))


def _state_errors(
    config: TrainConfig, data: EpisodeData, model: WorldModel, rolled: RolledOut
) -> StateErrors | None:
    """Fit the probe to training episodes; None where no true state is recorded."""
    names = data.episodes.spec.state_names
    if not names or rolled.state is None:
        return None
    count = _with_room(model, PROBED)
    probe = fit_state_probe(*_observed(config, data, model, data.train, count))
    latents, state = _observed(config, data, model, data.held_out, count // 2)
    rmse = tuple(probe.rmse(latents, state).tolist())
    steps = rolled.latents.shape[1]
    fitted, states = _predicted(_rolled_out(config, data, model, data.train, steps))
    probe = fit_state_probe(fitted.flatten(0, 1), states.flatten(0, 1))
    predicted, truth = _predicted(rolled)
    ahead = tuple(tuple(probe.rmse(predicted[:, i], truth[:, i]).tolist()) for i in range(truth.shape[1]))
    return StateErrors(names, rmse, tuple(state.std(dim=0).tolist()), ahead)


def _with_room(model: WorldModel, count: int) -> int:
    """Return for how many of ``count`` latent steps there is room."""
    assert model.predictor is not None
    return min(count, ROOM // (4 * model.predictor.grid.p * model.predictor.latent_dim))


def _predicted(rolled: RolledOut) -> tuple[Tensor, Tensor]:
    """Return the predicted latents ``[b l p d]`` and the true states ``[b l z]`` of their steps."""
    assert rolled.state is not None
    return rolled.predicted, rolled.state[:, rolled.context :]


@torch.no_grad()
def _observed(
    config: TrainConfig, data: EpisodeData, model: WorldModel, ids: list[int], count: int
) -> tuple[Tensor, Tensor]:
    """Return about ``count`` encoded observations, spread over the episodes, and their true states."""
    available = int(data.episodes.lengths[ids].sum())
    stride = max(1, available // count)
    latents, states = [], []
    with windows_in_order(config, data, ids, num_steps=1, stride=stride) as windows:
        for batch in windows:
            assert batch.state is not None
            latents.append(model.encode(batch.frames)[:, 0].float().cpu())
            states.append(batch.state[:, 0])
    return torch.cat(latents), torch.cat(states)
