"""Collect, train the world model, train the agent in it, and again: an agent from nothing but an environment.

All of it lies in the run folder: the episodes of all rounds in one store (``episodes/``), the model's
checkpoints as of any run (``checkpoints/``), and a folder for the agent after each round (``agent/``). What a
round adds follows from (seed, round) and from what lay there before it; a phase that was interrupted is done
again from its start (the model's from its last checkpoint), one whose result is there is passed over. So a
run that was killed anywhere ends as one that was not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import yaml

from worldjepa.agents.actor_critic import ActorCritic, load_agent, save_agent
from worldjepa.agents.dreaming import Dreamer
from worldjepa.agents.playing import agent_beginner, play_episodes
from worldjepa.artifact import is_whole, latest_checkpoint, write_file
from worldjepa.config import TrainConfig
from worldjepa.data.collection.record import episode_seed
from worldjepa.data.episodes.episode import Episode
from worldjepa.data.episodes.store import EpisodeStore
from worldjepa.experience import encoded_starts, fresh_agent, rewards_of
from worldjepa.loading import load
from worldjepa.model.world_model import WorldModel
from worldjepa.online_record import OnlineRecord, Round, Watch
from worldjepa.report.page import write_report
from worldjepa.run_episodes import (
    COLLECTED,
    EpisodeData,
    adopt_episodes,
    ensure_episodes,
)
from worldjepa.seeding import derive_seed
from worldjepa.settings.agent import AgentConfig
from worldjepa.settings.schema import ConfigError, to_dict
from worldjepa.stages import build_trainer, check_same_settings, opened_run
from worldjepa.training import distributed
from worldjepa.training.checkpoint import load_checkpoint
from worldjepa.training.settling import SettledTrainer
from worldjepa.training.signals import StopRequest
from worldjepa.uses import EpisodeUse

logger = logging.getLogger(__name__)

AT_ONCE = 16  # episodes that the agent plays side by side
RECENT = 50  # of the agent's updates, whose figures are averaged
# what the seeds of a round are for
COLLECT, JUDGE, DREAM = range(100, 103)


class Stopped(Exception):
    """A signal asked to stop; what is finished stays."""


def run_online(config: TrainConfig, argv: list[str]) -> int:
    """Go through the rounds of ``config.agent`` that the run folder lacks; return the exit code.

    Raises:
        ValueError: one of the named errors of the rooms below; its text is for the user.
    """
    with opened_run(config, argv) as (config, run_dir, device), StopRequest() as stop:
        if distributed.world_size() > 1:
            raise ConfigError("agent.rounds: an agent is trained by one process; leave torchrun out")
        _begin(config, run_dir)
        run = OnlineRun(config, run_dir, device, stop=lambda: bool(stop))
        begun = len(run.record.rounds)
        try:
            run.go_on()
            if len(run.record.rounds) > begun:
                write_report(run_dir, device=device.type)
        except Stopped:
            logger.info("stopped in round %d; the same command goes on", len(run.record.rounds) + 1)
    return 0


def _begin(config: TrainConfig, run_dir: Path) -> None:
    """Write the settings down, or refuse others than those the run began with."""
    path = run_dir / "config.yaml"
    if not path.exists():
        write_file(path, yaml.safe_dump(to_dict(config), sort_keys=False))
        return
    check_same_settings(yaml.safe_load(path.read_text(encoding="utf-8")), config, run_dir)


@dataclass
class OnlineRun:
    """One run's rounds. ``stop``: whether a signal came; asked between updates."""

    config: TrainConfig
    run_dir: Path
    device: torch.device
    stop: Callable[[], bool] = lambda: False
    record: OnlineRecord = field(init=False)

    def __post_init__(self) -> None:
        about = {"env": self.config.env.id, "first_policy": self.config.collect.policy}
        self.record = OnlineRecord(self.run_dir, about | {"seed": self.config.seed})

    def go_on(self) -> None:
        """Do the rounds that are missing.

        Raises:
            Stopped: a signal came.
        """
        rounds = self.config.agent.rounds
        if len(self.record.rounds) == rounds:
            anew = "nothing to do (another run.dir= starts anew)"
            logger.info("%s is finished: %d rounds; %s", self.run_dir, rounds, anew)
        for number in range(len(self.record.rounds), rounds):
            watch = Watch()
            with watch.part("collect"):
                data = self.collect(number)
            config = adopt_episodes(self.config, data)
            with watch.part("model"):
                model = self.train_model(number, config, data)
            with watch.part("agent"):
                agent, figures = self.train_agent(number, config, data, model)
            with watch.part("judge"):
                returns = self.judge(model, agent)
            self.record.add(self._round(number, data, returns, figures, watch))
            logger.info(self.record.rounds[-1].line(rounds))

    def share(self, total: int, number: int) -> int:
        """Return how much of ``total`` there is to be after round ``number``."""
        return total * (number + 1) // self.config.agent.rounds

    # --- the phases ------------------------------------------------------------------------------

    def collect(self, number: int) -> EpisodeData:
        """Return all episodes up to round ``number``: collected in the first, played by the agent later."""
        goal, root = self.share(self.config.collect.num_episodes, number), self.run_dir / COLLECTED
        if number == 0:
            first = replace(self.config.collect, num_episodes=goal)
            if not ensure_episodes(replace(self.config, collect=first), self.run_dir):
                raise Stopped
        store = EpisodeStore.open(root)
        if len(store.lengths) < goal:
            # episodes of an interrupted round are played again for the same batches, and not written again
            first = self.share(self.config.collect.num_episodes, number - 1)
            model, agent = self.model(), load_agent(self._agent_folder(number - 1), device=str(self.device))
            seeds = [episode_seed(self.config.seed, i) for i in range(first, goal)]
            episodes = self.play(model, agent, seeds, explore=derive_seed(self.config.seed, number, COLLECT))
            for episode in episodes[len(store.lengths) - first :]:
                store.append(episode)
        ids = [i for i in range(goal) if store.lengths[i]]
        return EpisodeData(store, ids, [])

    def train_model(self, number: int, config: TrainConfig, data: EpisodeData) -> WorldModel:
        """Train the world model up to its share of steps, on all episodes there are."""
        before, steps = (self.share(config.train.steps or 0, n) for n in (number - 1, number))
        # the rate falls at the end of each round: the agent gets weights that have come to rest; the
        # checkpoints are those of a plain run that had so many steps
        cooldown = config.optim.cooldown * (steps - before) / steps
        alone = replace(
            config,
            train=replace(config.train, steps=steps),
            optim=replace(config.optim, cooldown=cooldown),
            agent=AgentConfig(),
        )
        use = EpisodeUse(alone, data)
        found = latest_checkpoint(self.run_dir)
        checkpoint = None if found is None else load_checkpoint(found)
        if checkpoint is None or checkpoint.step < steps:
            fresh = checkpoint is None
            trainer = build_trainer(use, self.run_dir, self.device, fresh=fresh, kind=SettledTrainer)
            trainer.draw_pictures = None  # no episode is held out to be drawn
            if checkpoint is not None:
                trainer.restore(checkpoint)
            if not trainer.run():
                raise Stopped
        return self.model()

    def train_agent(
        self, number: int, config: TrainConfig, data: EpisodeData, model: WorldModel
    ) -> tuple[ActorCritic, dict[str, float]]:
        """Train the agent in imagination for its share of updates, from latents of all episodes."""
        settings, folder = config.agent, self._agent_folder(number)
        if is_whole(folder):
            return load_agent(folder, device=str(self.device)), {}
        starts = encoded_starts(config, data, model)
        agent = self._agent_before(number, data, model)
        dreamer = Dreamer(
            model,
            agent,
            horizon=settings.horizon,
            trace=settings.trace,
            entropy=settings.entropy,
            lr=settings.lr,
            grad_clip=settings.grad_clip,
            slow_momentum=settings.slow_momentum,
        )
        generator = torch.Generator().manual_seed(derive_seed(config.seed, number, DREAM))
        updates = self.share(settings.steps, number) - self.share(settings.steps, number - 1)
        seen: list[dict[str, float]] = []
        for _ in range(updates):
            if self.stop():
                raise Stopped
            rows = torch.randint(len(starts), (settings.batch_size,), generator=generator)
            seen.append(dreamer.update(starts[rows.to(starts.device)], generator))
        save_agent(folder, agent)
        last = seen[-RECENT:]
        return agent, {name: sum(one[name] for one in last) / len(last) for name in last[0]}

    def judge(self, model: WorldModel, agent: ActorCritic) -> list[float]:
        """Return what the agent earns without noise, in episodes that nobody learns from."""
        seeds = judge_seeds(self.config.seed, self.config.agent.episodes)
        return [float(episode.rewards.sum()) for episode in self.play(model, agent, seeds)]

    # --- their parts -----------------------------------------------------------------------------

    def model(self) -> WorldModel:
        """Return the world model as it was saved last."""
        return load(self.run_dir, device=self.device.type)

    def play(
        self, model: WorldModel, agent: ActorCritic, seeds: list[int], *, explore: int | None = None
    ) -> list[Episode]:
        """Let the agent play an episode for each seed; ``explore`` seeds its noise (None: no noise)."""
        config, played = self.config, []
        assert config.data.size is not None
        for first in range(0, len(seeds), AT_ONCE):
            begin = agent_beginner(model, agent, None if explore is None else derive_seed(explore, first))
            some = seeds[first : first + AT_ONCE]
            found = play_episodes(config.env, begin, seeds=some, size=config.data.size, stop=self.stop)
            if found is None:
                raise Stopped
            played += found
        return played

    def _agent_folder(self, number: int) -> Path:
        return self.run_dir / "agent" / f"round_{number:04d}"

    def _agent_before(self, number: int, data: EpisodeData, model: WorldModel) -> ActorCritic:
        """Return the agent of the round before, or a fresh one."""
        if number:
            return load_agent(self._agent_folder(number - 1), device=str(self.device))
        return fresh_agent(self.config, data, model).to(self.device)

    def _round(
        self,
        number: int,
        data: EpisodeData,
        returns: list[float],
        figures: dict[str, float],
        watch: Watch,
    ) -> Round:
        config = self.config
        first = self.share(config.collect.num_episodes, number - 1)
        new = [float(rewards_of(data, i).sum()) for i in data.train if i >= first]
        return Round(
            round=number,
            env_steps=int(data.episodes.lengths[data.train].sum()),
            episodes=len(data.train),
            model_steps=self.share(config.train.steps or 0, number),
            agent_steps=self.share(config.agent.steps, number),
            returns=returns,
            collected=sum(new) / len(new),
            figures=figures,
            seconds=watch.seconds,
            cpu_seconds=watch.cpu_seconds,
        )


def judge_seeds(seed: int, episodes: int) -> list[int]:
    """Return what the episodes are reset with that a run's agent is judged by, the same after every round."""
    return [derive_seed(seed, i, JUDGE) % 2**31 for i in range(episodes)]
