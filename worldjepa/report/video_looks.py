"""Pictures of an encoder's run: its masks, its tokens on held-out clips, and what these are like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float16, Int, UInt8
from torch import Tensor

from worldjepa.build_objective import LATENT, build_objective, build_strategies
from worldjepa.config import TrainConfig
from worldjepa.data.clips.badfiles import NoGoodFileError
from worldjepa.data.clips.listing import FileList
from worldjepa.data.clips.loader import default_num_workers
from worldjepa.evaluation.attentive import AttentiveProbe, scaled_heads
from worldjepa.evaluation.heads import Schedule, apply, fit_heads
from worldjepa.evaluation.latents import patch_encoder, token_grid
from worldjepa.evaluation.probes import NoProbeError
from worldjepa.model.layers.tubelet import gather_tokens
from worldjepa.model.masking import draw_masks
from worldjepa.model.world_model import WorldModel
from worldjepa.outcome.labels import labelled
from worldjepa.pictures import mask_picture
from worldjepa.report.elements import Html, figure, film, note, picture
from worldjepa.report.neighbours import nearest, neighbour_sheet
from worldjepa.report.token_pictures import attention_film, prediction_sheet, relative_error, token_film
from worldjepa.run_data import Data, centre_clips, find_data
from worldjepa.types import Batch, Grid, Masks

SHOWN, QUERIES, NEIGHBOURS = 4, 6, 6
MOST_BYTES = 1 << 30  # of tokens that are kept to fit the probe to
SCHEDULE = Schedule(lrs=(1e-3, 3e-3), weight_decays=(0.01,), epochs=12)


@dataclass(frozen=True)
class Gallery:
    """Clips as an encoder sees them: tokens and the middle frame of all, all frames of some."""

    tokens: Float16[Tensor, "n t p d"]
    middles: UInt8[Tensor, "n c y x"]
    labels: Int[Tensor, " n"]
    shown: Int[Tensor, " s"]
    frames: UInt8[Tensor, "s f c y x"]


def video_figures(config: TrainConfig, model: WorldModel, most: int) -> Iterator[Html]:
    """Yield the pictures of a run over video files, from at most ``most`` held-out and ``most`` other clips.

    Raises:
        ValueError, OSError: its files are not there any more, or cannot be read.
    """
    data = find_data(config)
    held_out = len(data.held_out) >= SHOWN
    files, origin = (data.held_out, "held-out") if held_out else (data.sources[0].files, "training")
    gallery = _read(config, model, _spread(files, _affordable(config, model, most)))
    grid = _grid(config, model)
    tokens = gallery.tokens[gallery.shown].float()
    text = (
        "Left the frames, right their tokens: the three first principal components, of these clips together, "
        "as red, green and blue. What has one colour is alike to the encoder."
    )
    clips = token_film(gallery.frames, tokens, grid)
    yield figure(f"Tokens of {origin} clips", film(clips, "frames beside token maps"), text=text)
    yield from _predictions(config, model, gallery, grid)
    yield _attention(config, model, data, gallery, grid, most=most, held_out=held_out)
    yield _neighbours(files, gallery, origin)


def mask_figures(config: TrainConfig, model: WorldModel) -> Iterator[Html]:
    """Yield a picture of the masks of the first step, where the objective hides anything."""
    strategies = build_strategies(config)
    if strategies:
        grid = _grid(config, model)
        masks = draw_masks(strategies, grid, 2, seed=config.seed, step=0)
        named = dict(zip(config.masking, masks, strict=True))
        text = "Two clips a setting, latent steps from left to right."
        image = picture(mask_picture(named, grid), "which tokens are context and target")
        yield figure("Masks of the first step", image, text=text)


@torch.no_grad()
def _read(config: TrainConfig, model: WorldModel, files: FileList) -> Gallery:
    workers = default_num_workers() if config.data.num_workers is None else config.data.num_workers
    wanted = set(range(0, len(files), max(1, len(files) // SHOWN))[:SHOWN])
    tokens, middles, labels, shown, frames = [], [], [], [], []
    encoder, number = patch_encoder(model), 0
    with centre_clips(config, files, workers) as clips:
        for batch in clips:
            assert batch.labels is not None
            found = model.normalise(encoder.tokens(model.prepare(batch.frames)))
            tokens.append(found.to("cpu", torch.float16))
            middles.append(batch.frames[:, batch.frames.shape[1] // 2])
            labels.append(batch.labels)
            here = [row for row in range(len(batch.frames)) if number + row in wanted]
            shown += [number + row for row in here]
            frames.append(batch.frames[here])
            number += len(batch.frames)
    return Gallery(
        torch.cat(tokens), torch.cat(middles), torch.cat(labels), torch.tensor(shown), torch.cat(frames)
    )


def _predictions(config: TrainConfig, model: WorldModel, gallery: Gallery, grid: Grid) -> Iterator[Html]:
    """Yield what the masked predictor says of hidden tokens, beside what they are."""
    if config.objective.kind not in LATENT:
        return
    alone = replace(config, objective=replace(config.objective, weights={"prediction": 1.0}))
    objective = build_objective(alone, model)
    masks = draw_masks(build_strategies(config), grid, len(gallery.frames), seed=config.seed, step=0)
    batch = Batch(gallery.frames).to(model.device)
    with torch.no_grad():
        _, seen = objective(batch, tuple(mask.to(model.device) for mask in masks))
    true = seen.targets.float().cpu()
    for name, mask, predicted in zip(config.masking, masks, seen.predictions, strict=True):
        whole, hidden = _placed(predicted.float().cpu(), mask, true)
        true_steps, guess, hides = (part.unflatten(1, (grid.t, grid.p)) for part in (true, whole, hidden))
        error = relative_error(true_steps, guess)[hides].mean()
        text = (
            "Of each clip from top to bottom: frames, true latents, predicted ones (grey: given), and the "
            "error (dark red: as large as that of guessing the mean); over what is hidden here it is "
            f"{error:.2f} of that."
        )
        image = picture(
            prediction_sheet(gallery.frames, true_steps, guess, hides, grid), "true and predicted latents"
        )
        yield figure(f"Predicted and true latents, masks {name}", image, text=text)


def _placed(predicted: Tensor, mask: Masks, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return predictions ``[b m d]`` where they belong among all tokens ``[b n d]``, and where that is."""
    ids = mask.target
    whole = true.scatter(1, ids[..., None].expand_as(predicted), predicted)
    hidden = torch.zeros(true.shape[:2], dtype=torch.bool).scatter(1, ids, True)
    assert torch.equal(gather_tokens(whole, ids), predicted)
    return whole, hidden


def _attention(
    config: TrainConfig,
    model: WorldModel,
    data: Data,
    gallery: Gallery,
    grid: Grid,
    *,
    most: int,
    held_out: bool,
) -> Html:
    """Fit an attentive probe of one block to the labels, and show what its query attends to."""
    try:
        fit, _ = labelled(data.sources[0].files, data.held_out)
        known = _read(config, model, _spread(fit, _affordable(config, model, most)))
        dim, classes = known.tokens.shape[-1], int(torch.cat([known.labels, gallery.labels]).max()) + 1
        made = fit_heads(
            known.tokens,
            lambda: AttentiveProbe(dim=dim, classes=classes, depth=1, num_heads=scaled_heads(dim, 16)),
            lambda out, ids: F.cross_entropy(out, known.labels[ids].to(out.device)),
            lambda out, ids: (out.argmax(dim=1) == known.labels[ids]).float().mean(),
            SCHEDULE,
            model.device,
        )
    except (NoProbeError, NoGoodFileError) as error:
        return note(f"No attention of a probe: {error}.")
    assert isinstance(made.head, AttentiveProbe)
    weights = made.head.weights(gallery.tokens[gallery.shown].to(model.device, torch.float32)).cpu()
    text = (
        "Orange: what gets more than an equal share of the attention of a probe of one block, mean of its "
        f"heads. It was fitted for this page to {len(known.labels)} clips in a few seconds; python -m "
        "worldjepa.evaluate probe=attentive fits and measures it properly."
    )
    if held_out:
        guess = apply(made.head, gallery.tokens, model.device).argmax(dim=1)
        right = (guess == gallery.labels).float().mean()
        text += f" Of {len(guess)} held-out clips this one names the class of {right:.0%}."
    clips = attention_film(gallery.frames, weights, grid)
    return figure("What the attentive probe looks at", film(clips, "attention over frames"), text=text)


def _neighbours(files: FileList, gallery: Gallery, origin: str) -> Html:
    """Show the clips that are most alike to the encoder."""
    count = len(gallery.tokens)
    if count < 2:
        return note("No nearest neighbours: there is one clip.")
    queries = torch.arange(0, count, max(1, count // QUERIES))[:QUERIES]
    ids, _ = nearest(gallery.tokens.float().mean(dim=2).flatten(1), queries, NEIGHBOURS)
    known = bool((gallery.labels >= 0).all()) and bool(files.classes)
    names = [str(files.classes[label]) for label in gallery.labels.tolist()] if known else None
    text = (
        f"Left a clip, then those most like it of {count} {origin} ones, by the cosine of their latents, "
        "averaged over space."
    )
    if known:
        same = (gallery.labels[ids] == gallery.labels[queries, None]).float().mean()
        text += f" Green: of its class, {same:.0%} of them."
    sheet = neighbour_sheet(gallery.middles, queries, ids, names)
    return figure("Nearest neighbours", picture(sheet, "clips and their nearest neighbours"), text=text)


def _spread(files: FileList, most: int) -> FileList:
    """Return at most so many files, evenly over the list: neighbours in it are of one class."""
    step = -(-len(files) // most)
    return files.take(range(0, len(files), step))


def _affordable(config: TrainConfig, model: WorldModel, most: int) -> int:
    """Return how many clips' tokens fit into memory, ``most`` at most."""
    return max(1, min(most, MOST_BYTES // (2 * _grid(config, model).n * config.model.encoder.dim)))


def _grid(config: TrainConfig, model: WorldModel) -> Grid:
    """Return the grid of a clip's tokens."""
    size, frames = config.data.size, config.data.num_frames
    assert size is not None and frames is not None
    return token_grid(model, torch.zeros(1, frames, 3, size, size))
