"""What probes read: each way's tokens, once, also from a file; views of a clip side by side."""

import torch

from tests.evaluation.clips import target, tiny_model, videos
from worldjepa.evaluation import latents
from worldjepa.evaluation.latents import (
    CONTEXT,
    ENCODER,
    RAW,
    TARGET,
    UNTRAINED,
    anticipation_ways,
    patch_encoder,
    raw_patches,
    read_latents,
    token_grid,
    ways_of,
)
from worldjepa.types import Batch, Grid


def batches(views=1):
    clips = videos(rows=6, size=16)
    for part in (slice(0, 4), slice(4, 6)):
        rows = torch.arange(6)[part]
        yield Batch(clips[part], labels=rows // views, paths=tuple(f"{int(i) // views}.mp4" for i in rows))


def test_the_ways_are_the_encoders_side_by_side():
    model, other, clips = tiny_model(), tiny_model(), videos()
    target(other).norm.weight.data.zero_()
    ways = ways_of(model, other, ["context", "untrained", "raw"])
    assert list(ways) == [TARGET, CONTEXT, UNTRAINED, RAW]
    torch.testing.assert_close(ways[TARGET](clips), model.encode(clips))
    torch.testing.assert_close(
        ways[CONTEXT](clips), model.normalise(patch_encoder(model, target=False).tokens(model.prepare(clips)))
    )
    torch.testing.assert_close(ways[UNTRAINED](clips), other.encode(clips))
    model.target_encoder = None
    assert list(ways_of(model, other, ["context", "raw"])) == [ENCODER, RAW]


def test_raw_patches_are_the_pixels_of_their_tubelets():
    model, clips = tiny_model(), videos(rows=1)
    assert token_grid(model, clips) == Grid(4, 2, 2)
    found = raw_patches(model, clips)
    assert found.shape == (1, 4, 4, 2 * 3 * 16)
    x = model.prepare(clips)
    block = x[0, 2, 0, :2, 8:10].mean()  # first cell of the second token of the second latent step, red
    torch.testing.assert_close(found[0, 1, 1, 0], block)


def test_reading_keeps_every_clip_once_and_pools_by_way(tmp_path):
    model = tiny_model()
    ways = ways_of(model, model, ["raw"])
    read = read_latents(batches(), ways, Grid(4, 2, 2), rows=9, views=1, folder=tmp_path)
    assert read.labels.tolist() == [0, 1, 2, 3, 4, 5] and read.paths[4] == "4.mp4"
    expected = model.encode(videos(rows=6))
    torch.testing.assert_close(read.tokens[TARGET].float(), expected, atol=2e-3, rtol=2e-3)
    pooled = read.features(TARGET).values
    torch.testing.assert_close(pooled, expected.mean(dim=2).flatten(1), atol=2e-3, rtol=2e-3)
    assert read.features(RAW).values.shape == (6, 4 * 4 * 96)


def test_large_latents_come_from_a_file_that_nothing_else_sees(tmp_path, monkeypatch):
    ways = ways_of(tiny_model(), tiny_model(), [])
    small = read_latents(batches(), ways, Grid(4, 2, 2), rows=6, views=1, folder=tmp_path)
    monkeypatch.setattr(latents, "IN_MEMORY", 0)
    large = read_latents(batches(), ways, Grid(4, 2, 2), rows=6, views=1, folder=tmp_path)
    assert torch.equal(small.tokens[TARGET], large.tokens[TARGET])
    assert list(tmp_path.iterdir()) == []


def test_views_share_a_label(tmp_path):
    model = tiny_model()
    read = read_latents(
        batches(2), ways_of(model, model, []), Grid(4, 2, 2), rows=6, views=2, folder=tmp_path
    )
    assert read.labels.tolist() == [0, 1, 2] and read.paths == ("0.mp4", "1.mp4", "2.mp4")
    assert read.features(TARGET).labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_what_is_anticipated_stands_after_what_is_observed():
    model, clips = tiny_model(), videos()
    ways = anticipation_ways(model, 2)
    observed, foreseen, whole = (way(clips) for way in ways.values())
    assert (observed.shape[1], foreseen.shape[1], whole.shape[1]) == (2, 4, 4)
    assert torch.equal(foreseen[:, :2], observed)
    torch.testing.assert_close(whole, model.encode(clips))
