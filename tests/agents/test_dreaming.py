"""Imagination: lambda returns by hand, exact gradients through the model, and a toy world solved."""

from typing import Any

import pytest
import torch

from tests.agents.linear_world import BOX, COMPASS, MOVES, LinearWorld, starts
from tests.model.worlds import world
from worldjepa.agents.actor_critic import ActorCritic
from worldjepa.agents.dreaming import Dreamer, dream, lambda_returns
from worldjepa.data.episodes.action_spec import ActionSpec
from worldjepa.model.heads import ScalarHead
from worldjepa.planning.world import untrained


def test_lambda_returns_by_hand():
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    continues = torch.tensor([[1.0, 0.5, 1.0]])
    found = lambda_returns(rewards, values, continues, discount=0.9, trace=0.8)
    third = 3 + 0.9 * 30
    second = 2 + 0.9 * 0.5 * (0.2 * 20 + 0.8 * third)
    first = 1 + 0.9 * (0.2 * 10 + 0.8 * second)
    torch.testing.assert_close(found, torch.tensor([[first, second, third]]))


@pytest.mark.parametrize(("trace", "expected"), [(0.0, [10.0, 19.0, 28.0]), (1.0, [25.68, 27.2, 28.0])])
def test_lambda_returns_at_the_ends_of_the_range(trace: float, expected: list[float]):
    """0: one reward and the next value; 1: all rewards and the last value."""
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[11.25, 21.25, 31.25]])
    rewards = torch.tensor([[1.0, 2.0, 3.0]]) if trace == 0 else torch.tensor([[3.92, 4.8, 3.0]])
    found = lambda_returns(rewards, values, torch.ones(1, 3), discount=0.8, trace=trace)
    torch.testing.assert_close(found, torch.tensor([expected]))


def rewarded_world():
    """Return a small world model in float64 with reward and termination heads, all redrawn."""
    torch.manual_seed(0)
    model = world(depth=2, std=0.3)
    for name in ("reward", "termination"):
        head = ScalarHead(latent_dim=12, num_tokens=4, hidden_dim=8).double()
        for parameter in head.parameters():
            parameter.data.normal_(std=0.3)
        model.heads[name] = head
    return model.eval()


@pytest.mark.parametrize("kind", ["box", "choices"])
def test_the_actors_gradient_through_the_model_equals_finite_differences(kind: str):
    """For choices the straight-through estimate differs by design, so only boxes are compared there."""
    model = rewarded_world()
    spec = ActionSpec("box", low=(-1.0, -2.0), high=(1.0, 2.0), shape=(2,))
    if kind == "choices":
        spec = ActionSpec("discrete", sizes=(2,), start=(0,))
    torch.manual_seed(1)
    agent = ActorCritic(latent_dim=12, num_tokens=4, action=spec, action_block=2, hidden_dim=6).double()
    for parameter in agent.parameters():
        parameter.data.normal_(std=0.4)
    generator = torch.Generator().manual_seed(2)
    begin = torch.randn(3, 4, 12, generator=generator, dtype=torch.float64)
    noise = agent.noise(generator, (3, 4)).double()
    learner = Dreamer(model, agent, horizon=4)

    def loss():
        dreamt = dream(model, agent, begin, noise)
        returns, weights = learner.returns(dreamt)
        # the weights are taken as they are: the chance of an end counts through the returns alone
        fixed = weights.detach() if not kept else kept[0]
        kept.append(fixed)
        return learner.actor_loss(dreamt, returns, fixed)

    kept: list[torch.Tensor] = []
    with untrained(model):
        actor = list(agent.actor.parameters())
        gradients = torch.autograd.grad(loss(), actor)
        assert all(g.isfinite().all() for g in gradients) and sum(float(g.abs().sum()) for g in gradients) > 0
        if kind == "choices":
            return
        step, draw = 1e-6, torch.Generator().manual_seed(3)
        for parameter, gradient in zip(actor, gradients, strict=True):
            direction = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            found = []
            for sign in (1, -1):
                parameter.data.add_(direction, alpha=sign * step)
                with torch.no_grad():
                    found.append(float(loss()))
                parameter.data.add_(direction, alpha=-sign * step)
            expected = (found[0] - found[1]) / (2 * step)
            assert float((gradient * direction).sum()) == pytest.approx(expected, rel=2e-5, abs=1e-9)


def test_the_model_is_as_it_was_and_takes_gradients_again():
    model = rewarded_world()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert model.predictor is not None
    frozen = next(iter(model.predictor.parameters()))
    frozen.requires_grad_(False)
    agent = ActorCritic(latent_dim=12, num_tokens=4, action=BOX, action_block=2, hidden_dim=8).double()
    Dreamer(model, agent, horizon=2).update(torch.randn(4, 4, 12).double(), torch.Generator().manual_seed(0))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not frozen.requires_grad
    assert sum(p.requires_grad for p in model.parameters()) == len(list(model.parameters())) - 1


@pytest.mark.parametrize(("spec", "moves"), [(BOX, None), (COMPASS, MOVES)], ids=["box", "choices"])
def test_a_toy_world_is_solved(spec: ActionSpec, moves: Any):
    """From up to 2 away, with steps of at most 0.5, one has to be home within 8 steps."""
    torch.manual_seed(0)
    model: Any = LinearWorld(moves)
    agent = ActorCritic(latent_dim=2, action=spec, hidden_dim=32, discount=0.9)
    agent.fit_scale(torch.full((1,), 2.6))
    generator = torch.Generator().manual_seed(0)
    learner = Dreamer(model, agent, horizon=8, lr=3e-3, entropy=1e-3)
    figures = [learner.update(starts(48, seed=index), generator) for index in range(100)]
    assert figures[0]["imagined_return"] < figures[-1]["imagined_return"] < 0
    with torch.no_grad():
        before = starts(256, seed=10**6)
        after = model.imagine(before.unsqueeze(1), lambda latent: agent.policy(latent).mode(), horizon=10)
    distance = after.latents[:, -1].norm(dim=-1)
    assert float(before.norm(dim=-1).mean()) > 1.4
    assert float(distance.mean()) < (0.15 if moves is None else 0.45)


def test_values_agree_with_what_the_agent_then_earns():
    """In a world whose reward is 1 for ever, every state is worth 1 / (1 - discount)."""
    torch.manual_seed(0)
    model: Any = LinearWorld()
    model.heads["reward"].forward = lambda latents: 0 * latents.sum(dim=(-2, -1)) + 3.0
    agent = ActorCritic(latent_dim=2, action=BOX, hidden_dim=16, discount=0.9)
    agent.fit_scale(torch.tensor([3.0, -3.0]))
    assert float(agent.reward_scale) == 3.0
    learner = Dreamer(model, agent, horizon=5, lr=1e-2, slow_momentum=0.8)
    generator = torch.Generator().manual_seed(0)
    for index in range(120):
        learner.update(starts(32, seed=index), generator)
    assert float(agent.values(starts(64, seed=7)).detach().mean()) == pytest.approx(10.0, rel=0.05)


def test_a_model_without_rewards_is_refused():
    agent = ActorCritic(latent_dim=12, num_tokens=4, action=BOX, action_block=2)
    with pytest.raises(ValueError, match=r"no reward head; train one with model.heads=\[reward\]"):
        dream(world(dtype=torch.float32), agent, torch.randn(2, 4, 12), torch.randn(2, 3, 4))
