"""The encoder: its four kinds of attention, visible tokens, positions."""

import pytest
import torch

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.layers.tubelet import TubeletEmbed


def build(**changes):
    encoder = VideoEncoder(dim=24, depth=4, num_heads=2, patch_size=4, **changes).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return encoder.eval()


def clips(frames=6, rows=2):
    return torch.randn(rows, frames, 3, 8, 8, dtype=torch.float64)


EVERY = [(a, p) for a in ("full", "step", "causal", "factorised") for p in ("rope", "sincos")]


@pytest.mark.parametrize(("attention", "positions"), EVERY)
def test_visible_with_every_token_equals_the_whole_clip(attention, positions):
    encoder, x = build(attention=attention, positions=positions, window=2), clips()
    whole = encoder(x)
    assert whole.shape == (2, 3, 4, 24)
    ids = torch.arange(12).expand(2, -1)
    torch.testing.assert_close(encoder.visible(x, ids), whole.flatten(1, 2), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("attention", "positions"), EVERY)
def test_packed_sets_of_tokens_equal_each_alone(attention, positions):
    encoder, x = build(attention=attention, positions=positions, window=2), clips()
    first, second = torch.tensor([[0, 5, 6], [1, 2, 8]]), torch.tensor([[0, 1, 2, 11], [3, 4, 5, 9]])
    ids, grid = torch.cat([first, second], dim=1), encoder.grid(x)
    packed = encoder.encode_tubelets(encoder.tubelets(x), grid, ids, (3, 4))
    alone = torch.cat([encoder.visible(x, first), encoder.visible(x, second)], dim=1)
    torch.testing.assert_close(packed, alone, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("attention", "positions"), EVERY)
def test_hidden_pixels_do_not_reach_visible_tokens(attention, positions):
    encoder, x = build(attention=attention, positions=positions), clips()
    ids = torch.tensor([[0, 5, 6, 11], [1, 2, 3, 8]])
    before = encoder.visible(x, ids)
    changed = x.clone()
    changed[0, 2:4, :, :4, :4] += 9.0  # token 4 of row 0: not visible
    assert torch.equal(encoder.visible(changed, ids), before)
    changed[0, 2:4, :, :4, 4:] += 9.0  # token 5: visible
    assert not torch.allclose(encoder.visible(changed, ids)[0], before[0])


@pytest.mark.parametrize("attention", ["step", "causal", "factorised"])
def test_a_later_frame_never_changes_an_earlier_latent(attention):
    encoder, x = build(attention=attention), clips()
    changed = x.clone()
    changed[:, 4:] = 0
    assert torch.equal(encoder(changed)[:, :2], encoder(x)[:, :2])
    assert not torch.allclose(encoder(changed)[:, 2], encoder(x)[:, 2])


def test_full_attention_sees_the_future():
    encoder, x = build(), clips()
    changed = x.clone()
    changed[:, 4:] = 0
    assert not torch.allclose(encoder(changed)[:, 0], encoder(x)[:, 0])


@pytest.mark.parametrize("positions", ["rope", "sincos"])
@pytest.mark.parametrize("rope", ["paired", "vjepa2"])
def test_a_step_encodes_alone_as_in_a_clip(positions, rope):
    encoder = build(attention="step", frames_per_step=1, positions=positions, rope=rope)
    x = clips(frames=3)
    alone = torch.cat([encoder(x[:, i : i + 1]) for i in range(3)], dim=1)
    torch.testing.assert_close(encoder(x), alone, atol=1e-12, rtol=0)
    doubled = x.repeat_interleave(2, dim=1)
    torch.testing.assert_close(build_like(encoder, 2)(doubled), alone, atol=1e-12, rtol=0)


def build_like(encoder, frames_per_step):
    other = build(
        attention="step", frames_per_step=frames_per_step, positions=encoder.positions, rope=encoder.rope
    )
    other.load_state_dict(encoder.state_dict())
    return other


def test_window_limits_a_single_causal_block():
    encoder, x = build(attention="causal", window=1), clips()
    apart = build(attention="causal", window=1)
    apart.load_state_dict(encoder.state_dict())
    changed = x.clone()
    changed[:, :2] = 0
    torch.testing.assert_close(apart(changed)[:, 1:], encoder(x)[:, 1:])


def test_each_row_equals_itself_alone():
    encoder, x = build(), clips(rows=3)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]), atol=1e-12, rtol=0)


def test_tubelets_equal_a_convolution():
    embed = TubeletEmbed(5, patch_size=4, tubelet_size=2).double()
    x = clips(frames=4)
    weight = embed.proj.weight.view(5, 3, 2, 4, 4)
    conv = torch.nn.functional.conv3d(x.transpose(1, 2), weight, embed.proj.bias, stride=(2, 4, 4))
    torch.testing.assert_close(embed(embed.patchify(x)), conv.flatten(2).transpose(1, 2))


def test_recomputing_blocks_gives_the_same_gradients():
    encoder, x = build(), clips()
    encoder(x).square().sum().backward()
    plain = [p.grad for p in encoder.parameters()]
    encoder.zero_grad(set_to_none=True)
    encoder.checkpoint_blocks = True
    encoder(x).square().sum().backward()
    for before, after in zip(plain, encoder.parameters(), strict=True):
        torch.testing.assert_close(after.grad, before)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 5, 3, 8, 8), "clip has 5 frames; tubelet_size=2 needs a multiple of 2"),
        ((1, 0, 3, 8, 8), "clip has 0 frames"),
        ((1, 4, 3, 8, 10), "frames are 8 x 10; patch_size=4"),
        ((1, 4, 1, 8, 8), "frames have 1 channels"),
    ],
)
def test_frames_that_do_not_fit_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        build()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize(
    "change", [{"attention": "casual"}, {"positions": "none"}, {"rope": "x"}, {"frames_per_step": 3}]
)
def test_unknown_choices_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        build(**change)
