"""The transformer of IRIS: what a token may know, and rollouts against predicting everything anew."""

import pytest
import torch

from worldjepa.model.action_stats import ActionStats
from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.iris.dynamics import TokenDynamics
from worldjepa.model.iris.tokenizer import Codebook, FrameTokenizer
from worldjepa.model.world_model import WorldModel


def dynamics(codebook=None):
    torch.manual_seed(0)
    codebook = Codebook(30, 6) if codebook is None else codebook
    net = TokenDynamics(codebook, action_dim=4, grid=(2, 2), dim=24, depth=2, num_heads=2)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return net.eval()


def world():
    """Return a whole model in float64, and codes and actions to give it."""
    torch.manual_seed(1)
    encoder = VideoEncoder(
        dim=24, depth=1, num_heads=2, patch_size=8, tubelet_size=1, frames_per_step=1, attention="step"
    )
    tokenizer = FrameTokenizer(encoder, image_size=16, latent_dim=6, num_codes=30)
    model = WorldModel(
        encoder=tokenizer,
        predictor=dynamics(tokenizer.codebook),
        action_stats=ActionStats(2),
        action_block=2,
        image_size=16,
        latent_norm="none",
    )
    codes = tokenizer.codebook.codes.double()
    return model.double().eval(), codes[torch.randint(30, (3, 2, 4))], torch.randn(3, 5, 4, 4).double()


def anew(net, latents, actions):
    """Predict what follows latents ``[1 t p d]`` token by token, the whole sequence again for each."""
    while latents.shape[1] <= actions.shape[1]:
        following = torch.zeros_like(latents[:, :1])
        for place in range(net.grid.p):
            logits = net(torch.cat([latents, following], dim=1), actions[:, : latents.shape[1]])
            following[:, 0, place] = net.codebook(logits[:, -1, place].argmax(dim=-1))
        latents = torch.cat([latents, following], dim=1)
    return latents


@torch.no_grad()
def test_a_rollout_equals_predicting_every_token_anew():
    model, latents, actions = world()
    past = torch.randn(3, 1, 4).double()
    found = model.rollout(latents, actions, past_actions=past)
    net = model.predictor
    assert isinstance(net, TokenDynamics) and found.shape == (3, 5, 4, 4, 6)
    for row in range(3):
        for candidate in (row, 4):
            taken = torch.cat([past[row], actions[row, candidate]]).unsqueeze(0)
            expected = anew(net, latents[row : row + 1], taken)[0, 2:]
            assert torch.equal(found[row, candidate], expected)
    assert len(found.flatten(0, 2).flatten(1).unique(dim=0)) > 10  # the actions matter


@torch.no_grad()
def test_steps_and_short_rows_equal_the_rollout():
    model, latents, actions = world()
    found = model.rollout(latents, actions[:, 0])
    state = model.start(latents)
    for index in range(4):
        state, latent = model.step(state, actions[:, 0, index])
        assert torch.equal(latent, found[:, index])
    uneven = model.rollout(latents, actions, lengths=torch.tensor([1, 2, 1]))
    assert torch.equal(uneven[0], model.rollout(latents[:1, 1:], actions[:1])[0])
    assert torch.equal(uneven[1], model.rollout(latents[1:2], actions[1:2])[0])


@torch.no_grad()
def test_a_token_knows_what_stands_before_it_and_nothing_after():
    net, latents, actions = dynamics(), torch.randn(1, 3, 4, 6), torch.randn(1, 2, 4)
    before = net(latents, actions)
    assert before.shape == (1, 2, 4, 30)

    def changed(step, place):
        other = latents.clone()
        other[0, step, place] += 1
        return (net(other, actions) - before).abs().amax(dim=-1)[0] > 1e-6

    assert changed(1, 2).tolist() == [[False, False, False, True], [True] * 4]  # its own step's next, and on
    assert changed(2, 3).sum() == 0  # the last token says nothing any more
    assert changed(0, 0).all()
    other = actions.clone()
    other[0, 1] += 1
    assert ((net(latents, other) - before).abs().amax(dim=-1)[0] > 1e-6).tolist() == [[False] * 4, [True] * 4]


@torch.no_grad()
def test_an_action_that_is_not_known_is_the_learned_null():
    net, latents, actions = dynamics(), torch.randn(2, 3, 4, 6), torch.randn(2, 2, 4)
    known = torch.tensor([[True, False], [True, True]])
    found = net(latents, actions, known=known)
    torch.testing.assert_close(found[1], net(latents, actions)[1])
    torch.testing.assert_close(found[0, 0], net(latents, actions)[0, 0])
    assert not torch.allclose(found[0, 1], net(latents, actions)[0, 1])


def test_gradients_of_a_rollout_do_not_reach_actions():
    """Tokens are chosen, not mixed: planners that follow gradients have nothing to follow."""
    model, latents, actions = world()
    assert not model.rollout(latents, actions.requires_grad_()).requires_grad


def test_proprioception_is_refused():
    model, latents, actions = world()
    with pytest.raises(ValueError, match="trained without it"):
        model.rollout(latents, actions, proprioception=torch.zeros(3, 2, 1))
