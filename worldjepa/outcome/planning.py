"""How well a run's world model plans: judged, printed, and stored in the run folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from worldjepa.artifact import write_file
from worldjepa.build import pick_device
from worldjepa.config import WORLD_KINDS, TrainConfig
from worldjepa.data.collection.record import SETTINGS as COLLECTION
from worldjepa.data.episodes.episode import Episodes
from worldjepa.data.episodes.store import open_episodes
from worldjepa.evaluation.film import Reel, contact_sheet, write_film
from worldjepa.evaluation.goals import Ground, NoTasksError
from worldjepa.evaluation.report import tables, terminal_table
from worldjepa.evaluation.success import Success
from worldjepa.loading import find_checkpoint, load
from worldjepa.outcome.plan_judge import Judge
from worldjepa.run_episodes import EpisodeData, find_episodes
from worldjepa.settings.env import CollectConfig, EnvConfig
from worldjepa.settings.planning import PlanConfig, PlanningConfig, plans_asked
from worldjepa.settings.schema import ConfigError, from_dict, to_dict

RESULT, FILM, SHEET = "plan.json", "plan.mp4", "plan.png"
WIDE = 132  # characters of a line in a file


@dataclass(frozen=True)
class How:
    """The seed of tasks and planner, the seed that the model was trained with, and where to compute."""

    seed: int
    training_seed: int
    device: str


def judge_run(config: PlanConfig, run: TrainConfig) -> dict[str, Any]:
    """Judge the plans of the run in ``config.run.dir``, print the result, and store it there; return it.

    Raises:
        ValueError: a run, episodes or an environment that cannot be used, or settings that do not fit them.
    """
    assert config.run.dir is not None
    run_dir = Path(config.run.dir)
    if run.objective.kind not in WORLD_KINDS:
        raise ConfigError(f"run.dir={run_dir}: it was trained from video alone; only a world model plans")
    if config.data.root is None:
        data = find_episodes(run, run_dir)
        episodes, ids = data.episodes, data.held_out
    else:
        episodes = open_episodes(config.data.root, config.data.layout)
        ids = np.flatnonzero(episodes.lengths).tolist()
    env = environment(config.env, run.env, episodes)
    how = How(config.seed, run.seed, config.device)
    return _judge(_complete(config.plan, run), run_dir, episodes, ids, env, how=how)


def evaluate_planning(config: TrainConfig, data: EpisodeData, run_dir: Path, device: torch.device) -> None:
    """Judge the plans of a finished run, if ``plan.success`` says what success is."""
    if plans_asked(config.plan):
        env = environment(EnvConfig(), config.env, data.episodes)
        how = How(config.seed, config.seed, device.type)
        try:
            _judge(_complete(config.plan, config), run_dir, data.episodes, data.held_out, env, how=how)
        except NoTasksError as error:
            Console(highlight=False).print(f"no plans to judge: {error}", markup=False, soft_wrap=True)


def planned(config: TrainConfig, run_dir: Path) -> bool:
    """Tell whether the plans of a run were judged, or are not to be."""
    return not plans_asked(config.plan) or (run_dir / RESULT).exists()


def _complete(planning: PlanningConfig, run: TrainConfig) -> PlanningConfig:
    """Plan in the precision that the model was trained in, unless told otherwise."""
    return replace(planning, precision=planning.precision or run.train.precision)


def environment(asked: EnvConfig, run: EnvConfig, episodes: Episodes) -> EnvConfig:
    """Return the environment that was asked for, or that the episodes were recorded in.

    What a collection says of itself comes first, then the run, then the episodes. ``asked.kwargs`` are added.
    """
    if asked.id is not None:
        return asked
    spec, record = episodes.spec, episodes.root / COLLECTION
    if record.exists():
        found = from_dict(json.loads(record.read_text(encoding="utf-8")), CollectConfig).env
    elif run.id is not None:
        found = run
    else:
        found = EnvConfig(id=spec.env_id, kwargs=spec.env_kwargs)
    return replace(found, kwargs={**found.kwargs, **asked.kwargs})


def _judge(
    planning: PlanningConfig, run_dir: Path, episodes: Episodes, ids: list[int], env: EnvConfig, *, how: How
) -> dict[str, Any]:
    began = time.perf_counter()
    checkpoint = find_checkpoint(run_dir)
    model = load(checkpoint, device=pick_device(how.device))
    ground = Ground(episodes, ids, env, Success(planning.success), planning.group, planning.past_end)
    judge = Judge(planning, ground, model, how.seed)
    found, scene = judge.ask(planning.protocol)
    result = {
        **found,
        "beside": {name: judge.ask(name)[0] for name in planning.beside},
        "offsets": {str(offset): judge.ask_offset(offset) for offset in planning.offsets},
        "run": str(run_dir),
        "checkpoint": checkpoint.name,
        "env": env.id,
        "success": ground.success.words(),
        "seeds": {"tasks and planner": how.seed, "training": how.training_seed},
        "settings": {"plan": to_dict(planning), "env": to_dict(env)},
        "seconds": round(time.perf_counter() - began, 1),
    }
    _show(result)
    _store(result, run_dir, scene.shoot(model, planning.film))
    return result


def _show(result: dict[str, Any]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    for heading, lines in tables(result):
        console.print(terminal_table(heading, lines))


def _store(result: dict[str, Any], run_dir: Path, reels: list[Reel]) -> None:
    """Write what was found into the run folder."""
    film, sheet = run_dir / FILM, run_dir / SHEET
    for old in (film, sheet):
        old.unlink(missing_ok=True)
    if reels:
        contact_sheet(reels).save(sheet)
        write_film(film, reels)
    write_file(run_dir / RESULT, json.dumps(result, indent=2) + "\n")
    Console(highlight=False).print(f"result: {run_dir / RESULT}", markup=False, soft_wrap=True)
