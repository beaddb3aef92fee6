"""Probes of a world model's latents, on the episodes of its run: the true state, and gauges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from worldjepa.evaluation.findings import Figure, Finding
from worldjepa.evaluation.gauges import rankme, straightness, variance
from worldjepa.evaluation.latents import CONTEXT, RAW, UNTRAINED, Way, encoder_name, raw_patches
from worldjepa.evaluation.states import fit_state_probe
from worldjepa.outcome.evaluated import Subject
from worldjepa.outcome.probe_judge import r_squared, r_squared_note
from worldjepa.run_episodes import EpisodeData, find_episodes, windows_in_order
from worldjepa.settings.schema import ConfigError

GAUGED, STEPS = 256, 6  # windows whose latents are gauged, and their latent steps at most


def judge_world_states(subject: Subject) -> Finding:
    """Read the environment's true state by a ridge fit on the latents of single observations.

    Raises:
        ConfigError: no true state was recorded.
    """
    data = find_episodes(subject.run, subject.run_dir)
    names = tuple(data.episodes.spec.state_names)
    if not names:
        raise ConfigError(
            "probe=regression: the episodes hold no true state; record some with env.state=[KEY]"
        )
    ways = _ways(subject)
    fit, state = _observed(subject, data, data.train, subject.asked.eval.clips, ways)
    judge, truth = _observed(subject, data, data.held_out, subject.asked.eval.clips, ways)
    rows = {}
    for way in ways:
        rows[way] = r_squared(fit_state_probe(fit[way], state)(judge[way]), truth, names)
    note = r_squared_note("observations", rows, names)
    return Finding(f"True state: {len(state)} observations to fit to, {len(truth)} to judge by", rows, note)


def judge_world_gauges(subject: Subject) -> Finding:
    """Take the gauges of latents along held-out episodes, beside those before training."""
    data = find_episodes(subject.run, subject.run_dir)
    block = subject.run.model.action_block
    usual = int(torch.as_tensor(data.episodes.lengths[data.held_out]).median()) // block + 1
    frames = _frames(subject, data, min(STEPS, usual))
    rows = {}
    for name, model in ((encoder_name(subject.model), subject.model), (UNTRAINED, subject.untrained)):
        with torch.no_grad():
            paths = torch.cat([model.encode(part).mean(dim=2).float().cpu() for part in frames.split(64)])
        mean, least, dead = variance(paths.flatten(0, 1))
        found = {"RankMe": rankme(paths.flatten(0, 1)), "variance": mean, "least": least, "dead": dead}
        if paths.shape[1] > 2:
            found["straightness"] = straightness(paths)
        rows[name] = {measure: Figure(value) for measure, value in found.items()}
    note = f"of {len(frames)} windows of held-out episodes; RankMe: 1 to the width of the latents"
    return Finding("Gauges of the latents", rows, note)


def _ways(subject: Subject) -> dict[str, Way]:
    """Return what a world model's users get: latents of ``encode``, pooled where the model pools them."""
    model, beside = subject.model, subject.asked.eval.beside
    ways: dict[str, Way] = {encoder_name(model): model.encode}
    if "context" in beside and model.target_encoder is not None:
        ways[CONTEXT] = lambda frames: model.normalise(model.encoder(model.prepare(frames)))
    if "untrained" in beside:
        ways[UNTRAINED] = subject.untrained.encode
    if "raw" in beside:
        ways[RAW] = lambda frames: raw_patches(model, frames)
    return ways


@torch.no_grad()
def _observed(
    subject: Subject, data: EpisodeData, ids: list[int], count: int, ways: dict[str, Way]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return at most ``count`` observations, spread over episodes, in every way, and their true states."""
    ids = _spread(ids, count)
    stride = max(1, int(data.episodes.lengths[ids].sum()) // count)
    found: dict[str, list[Tensor]] = {way: [] for way in ways}
    states = []
    with windows_in_order(subject.run, data, ids, num_steps=1, stride=stride) as windows:
        for batch in windows:
            assert batch.state is not None
            states.append(batch.state[:, 0])
            for name, way in ways.items():
                found[name].append(way(batch.frames)[:, 0].float().cpu())
    state = torch.cat(states)
    kept = torch.tensor(_spread(range(len(state)), count))
    return {name: torch.cat(parts)[kept] for name, parts in found.items()}, state[kept]


def _spread(ids: Sequence[int], most: int) -> list[int]:
    """Return at most so many of ``ids``, evenly over all."""
    count = min(most, len(ids))
    return [ids[place * len(ids) // count] for place in range(count)]


def _frames(subject: Subject, data: EpisodeData, steps: int) -> Tensor:
    kept: list[Tensor] = []
    stride = max(1, (steps - 1) * subject.run.model.action_block)
    with windows_in_order(subject.run, data, data.held_out, num_steps=steps, stride=stride) as windows:
        for batch in windows:
            kept.append(batch.frames)
            if sum(map(len, kept)) >= GAUGED:
                break
    return torch.cat(kept)[:GAUGED]
