"""Every probe by its name: what it asks of a run, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from worldjepa.data.clips.truth import STATE
from worldjepa.evaluation.attentive import NARROWEST, AttentiveProbe, scaled_heads
from worldjepa.evaluation.detection import detect
from worldjepa.evaluation.findings import Figure, Finding
from worldjepa.evaluation.foresight import check_foresight
from worldjepa.evaluation.heads import Schedule, apply, fit_heads
from worldjepa.evaluation.intervals import bootstrap
from worldjepa.evaluation.latents import Latents, anticipation_ways
from worldjepa.evaluation.probes import NEIGHBOURS, Features, knn_probe, linear_probe
from worldjepa.evaluation.segmentation import iou_figure, segment
from worldjepa.evaluation.states import fit_state_probe
from worldjepa.hardware import cpu_has_bf16
from worldjepa.outcome.evaluated import Subject

CHANCE = "chance"
LEAST_SPREAD = 1e-12  # sum of squares of a component that varies


def judge_linear(subject: Subject) -> Finding:
    """Read the labels by logistic regression on latents averaged over space."""
    note = "multinomial logistic regression on latents averaged over space; 95 % Wilson interval"
    return _labels(subject, linear_probe, "Labels by a linear probe", note)


def judge_knn(subject: Subject) -> Finding:
    """Read the labels from the nearest training clips."""
    nearest = min(NEIGHBOURS, len(subject.clips[0].labels))
    note = f"vote of the {nearest} nearest training clips by cosine similarity; 95 % Wilson interval"
    return _labels(subject, knn_probe, "Labels by k-NN", note)


def judge_attentive(subject: Subject) -> Finding:
    """Read the labels by an attentive probe, trained on cached tokens."""
    (fit, judge), settings = subject.clips, subject.asked.eval
    classes = int(torch.cat([fit.labels, judge.labels]).max()) + 1
    rows, details = {}, {}
    for way, tokens in fit.tokens.items():
        dim = tokens.shape[-1]
        heads = scaled_heads(dim, settings.heads)
        made = fit_heads(
            tokens,
            lambda dim=dim, heads=heads: AttentiveProbe(
                dim=dim, classes=classes, depth=settings.depth, num_heads=heads
            ),
            lambda out, ids: F.cross_entropy(out, fit.labels[ids].to(out.device)),
            lambda out, ids: (out.argmax(dim=1) == fit.labels[ids]).float().mean(),
            _attentive_schedule(subject),
            subject.device,
        )
        scores = apply(made.head, judge.tokens[way], subject.device).softmax(dim=1)
        rows[way] = {"accuracy": _accuracy(scores, judge)}
        details[way] = {"attention heads": heads, "setting": made.setting, "chosen among": made.scores}
    heads = " and ".join(sorted({str(found["attention heads"]) for found in details.values()}))
    note = (
        f"{settings.depth} blocks of {heads} heads (of {settings.heads} asked for, no narrower than "
        f"{NARROWEST}), best of {len(_attentive_schedule(subject).settings)} settings on a fifth of the first"
    )
    rows[CHANCE] = {"accuracy": Figure(_chance(judge.labels))}
    return Finding(f"Labels by an attentive probe{_counts(fit, judge)}", rows, note, {"settings": details})


def judge_anticipation(subject: Subject) -> Finding:
    """Read the labels from the first half of a clip, with and without what the model foresees of the rest."""
    check_foresight(subject.model, "anticipation", subject.grid.t)
    given = subject.grid.t // 2
    ways = anticipation_ways(subject.model, given)
    fit, judge = (subject.read(part, ways) for part in subject.parts)
    rows = {
        way: {"accuracy": _accuracy(linear_probe(fit.features(way), judge.features(way)), judge)}
        for way in ways
    }
    note = (
        f"linear probe; {given} of {subject.grid.t} latent steps observed, the others foreseen by the masked "
        "predictor, or seen (whole clip)"
    )
    rows[CHANCE] = {"accuracy": Figure(_chance(judge.labels))}
    return Finding(f"Labels anticipated{_counts(fit, judge)}", rows, note)


def judge_segmentation(subject: Subject) -> Finding:
    """Find the shapes of the built-in corpus by a linear map of each token to its pixels."""
    (fit, judge), (true_fit, true_judge) = subject.scenes, subject.truths
    rows = {}
    for way, tokens in fit.tokens.items():
        parts = (tokens, true_fit.cells), (judge.tokens[way], true_judge.cells)
        rows[way] = {"mIoU": segment(*parts, _dense_schedule(subject), subject.device)}
    nothing = iou_figure(torch.zeros_like(true_judge.cells), true_judge.cells)
    rows["all background"] = {"mIoU": nothing}
    note = (
        "mean IoU of background and shapes; a linear map of each token to its patch; 95 % interval over clips"
    )
    return Finding(f"Segmentation of the built-in corpus{_counts(fit, judge)}", rows, note)


def judge_detection(subject: Subject) -> Finding:
    """Find boxes around the shapes of the built-in corpus."""
    (fit, judge), (true_fit, true_judge) = subject.scenes, subject.truths
    rows = {}
    for way, tokens in fit.tokens.items():
        parts = (tokens, true_fit.boxes), (judge.tokens[way], true_judge.boxes)
        rows[way] = {"AP50": detect(*parts, subject.grid, _dense_schedule(subject), subject.device)}
    note = "average precision at IoU 0.5 of a small anchor-free head; 95 % interval over clips"
    return Finding(f"Detection in the built-in corpus{_counts(fit, judge)}", rows, note)


def judge_states(subject: Subject) -> Finding:
    """Read the true state of scenes of the built-in corpus by a ridge fit on all tokens of a latent step."""
    (fit, judge), (true_fit, true_judge) = subject.scenes, subject.truths
    names = STATE
    rows = {}
    for way, tokens in fit.tokens.items():
        probe = fit_state_probe(*_one_step(tokens, true_fit.state))
        latents, state = _one_step(judge.tokens[way], true_judge.state)
        rows[way] = r_squared(probe(latents), state, names)
    note = r_squared_note("clips", rows, names)
    return Finding(f"State of the built-in corpus{_counts(fit, judge)}", rows, note)


def r_squared(guess: Tensor, state: Tensor, names: tuple[str, ...]) -> dict[str, Figure]:
    """Return the share of each component's variance that a guess [n z] explains, with its interval.

    A component that does not vary is left out: there is nothing to explain.
    """
    missed = (guess.double() - state.double()).square()
    away = (state.double() - state.double().mean(dim=0)).square()

    def explained(index: int, ids: Tensor) -> float:
        return float(1 - missed[ids, index].sum() / away[ids, index].sum().clamp_min(LEAST_SPREAD))

    every = torch.arange(len(state))
    return {
        name: Figure(explained(i, every), *bootstrap(lambda ids, i=i: explained(i, ids), len(state)))
        for i, name in enumerate(names)
        if away[:, i].sum() > LEAST_SPREAD
    }


def r_squared_note(units: str, rows: Mapping[str, Mapping[str, Figure]], names: tuple[str, ...]) -> str:
    """Say what ``r_squared`` is, and which of ``names`` it left out."""
    still = [name for name in names if not any(name in figures for figures in rows.values())]
    left_out = f"; the same everywhere here and left out: {', '.join(still)}" if still else ""
    return f"R2 of a ridge fit; 1 is exact, 0 a constant guess; 95 % interval over {units}{left_out}"


def _attentive_schedule(subject: Subject) -> Schedule:
    asked = subject.asked.eval
    return _schedule(subject, asked.lrs, asked.epochs)


def _dense_schedule(subject: Subject) -> Schedule:
    asked = subject.asked.eval
    return _schedule(subject, asked.dense_lrs, asked.dense_epochs)


def _schedule(subject: Subject, lrs: Sequence[float], epochs: int) -> Schedule:
    bf16 = subject.device.type == "cuda" or cpu_has_bf16()
    return Schedule(lrs, subject.asked.eval.weight_decays, epochs, seed=subject.asked.seed, bf16=bf16)


def _labels(
    subject: Subject, probe: Callable[[Features, Features], Tensor], title: str, note: str
) -> Finding:
    fit, judge = subject.clips
    rows = {}
    for way in fit.tokens:
        rows[way] = {"accuracy": _accuracy(probe(fit.features(way), judge.features(way)), judge)}
    rows[CHANCE] = {"accuracy": Figure(_chance(judge.labels))}
    views = f"; {judge.views} views of a clip averaged" if judge.views > 1 else ""
    return Finding(f"{title}{_counts(fit, judge)}", rows, note + views)


def _accuracy(scores: Tensor, judge: Latents) -> Figure:
    """Return the share of clips whose views together say the right class; ``scores`` has a row a view."""
    guess = scores.unflatten(0, (-1, judge.views)).mean(dim=1).argmax(dim=1)
    return Figure.share(int((guess == judge.labels).sum()), len(judge.labels))


def _chance(labels: Tensor) -> float:
    return float(torch.bincount(labels).max()) / len(labels)


def _counts(fit: Latents, judge: Latents) -> str:
    return f": {len(fit.labels)} clips to fit to, {len(judge.labels)} to judge by"


def _one_step(tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tokens and the state of one latent step of each clip, another one from clip to clip."""
    rows = torch.arange(len(tokens))
    step = rows % tokens.shape[1]
    return tokens[rows, step].float(), state[rows, step]
