"""Other people's solvers and our world model: the costs they get are those of ``rollout_cost``."""

import functools
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from tests.planning.stub_world import StubEnv, StubWorld
from worldjepa import ActionPredictor, VideoEncoder, WorldModel
from worldjepa.planning import as_costable, goal_l2, last, rollout_cost

COST = functools.partial(goal_l2, reduce=last)
SAMPLES = 40


def stub(**settings) -> Any:
    """Return a stub for a world model."""
    return StubWorld(**settings)


def shown(info, samples=SAMPLES):
    """Repeat what the environments show for every candidate, as stable-worldmodel's solvers do."""
    return {
        name: np.repeat(value[:, None], samples, axis=1)
        if isinstance(value, np.ndarray)
        else value.unsqueeze(1).expand(len(value), samples, *value.shape[1:])
        for name, value in info.items()
    }


def dots(positions, **more):
    """Return the info of environments whose dots lie at ``positions [t] [n 2]``, goal last."""
    frames = [torch.from_numpy(StubEnv(one).frames()) for one in positions]
    return {"pixels": torch.stack(frames[:-1], dim=1), "goal": frames[-1][:, None], **more}


def solve(costable, info, *, horizon, width, iterations=30):
    """Plan as a solver of theirs does: refit a normal distribution to the ten best of all candidates."""
    generator, rows = torch.Generator().manual_seed(0), len(info["pixels"])
    mean, std = torch.zeros(rows, horizon, width), torch.ones(rows, horizon, width)
    expanded = shown(info)
    for _ in range(iterations):
        noise = torch.randn(rows, SAMPLES, horizon, width, generator=generator)
        candidates = noise * std[:, None] + mean[:, None]
        best = costable.get_cost(expanded, candidates).topk(10, dim=1, largest=False).indices
        elites = candidates.take_along_dim(best[..., None, None], dim=1)
        mean, std = elites.mean(dim=1), elites.std(dim=1)
    return mean


def small_world():
    """Return a world model of random weights whose latents are the patches of a frame."""
    torch.manual_seed(0)
    encoder = VideoEncoder(dim=16, depth=1, num_heads=2, patch_size=8, tubelet_size=1, attention="step")
    predictor = ActionPredictor(latent_dim=16, action_dim=4, grid=(2, 2), dim=16, depth=2, num_heads=2)
    for parameter in predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return WorldModel(encoder=encoder, predictor=predictor, action_block=2, image_size=16).eval()


def test_a_solver_finds_the_way_of_each_environment_and_encodes_once():
    world = stub()
    info = dots([[[5, 5], [20, 8]], [[8, 3], [17, 12]]])
    plan = solve(as_costable(world, cost=COST), info, horizon=2, width=2)
    expected = torch.tensor([[3.0, -2.0], [-3.0, 4.0]])
    torch.testing.assert_close(plan.sum(dim=1), expected, atol=0.1, rtol=0)
    assert world.calls == 4  # a context and a goal each, in thirty iterations
    assert len(world.contexts) == 1


@pytest.mark.parametrize("form", ["channels first", "numpy", "float"])
def test_costs_are_those_of_rollout_cost_however_pictures_come(form):
    world, generator = small_world(), torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (2, 4, 16, 16, 3), generator=generator, dtype=torch.uint8)
    blocks = torch.randn(2, 3, 4, generator=generator)
    candidates = torch.randn(2, 5, 3, 4, generator=generator)
    with torch.no_grad():
        latents = world.encode(frames.movedim(-1, 2))
        known = rollout_cost(world, latents[:, :3], latents[:, 3], cost=COST, past_actions=blocks[:, :2])(
            candidates
        )
        unknown = rollout_cost(world, latents[:, :3], latents[:, 3], cost=COST)(candidates)
        alone = rollout_cost(world, latents[:, 2:3], latents[:, 3], cost=COST)(candidates)
    forms = {"channels first": frames.movedim(-1, 2), "numpy": frames.numpy(), "float": frames / 255}
    pictures = {"pixels": forms[form][:, :3], "goal": forms[form][:, 3:]}
    costable = as_costable(world, cost=COST)
    nothing = torch.full((2, 3, 4), torch.nan)
    one = torch.stack([blocks[0], nothing[1]])  # of the other, what came before is not read
    mixed = torch.stack([known[0], alone[1]])
    for action, expected in ((blocks, known), (nothing, alone), (one, mixed)):
        found = costable.get_cost(shown(pictures | {"action": action}, 5), candidates)
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(costable.get_cost(shown(pictures, 5), candidates), unknown)
    assert (known - unknown).abs().min() > 1e-4


def test_frames_and_goals_that_change_in_their_memory_are_seen():
    world, info = stub(), dots([[[5, 5]], [[8, 3]]])
    costable, stay = as_costable(world, cost=COST), torch.zeros(1, 1, 1, 2)
    cost = lambda: float(costable.get_cost(shown(info, 1), stay))  # noqa: E731
    assert cost() == (3**2 + 2**2) / 2
    info["goal"][:] = torch.from_numpy(StubEnv([[5, 6]]).frames())
    assert cost() == 1 / 2
    info["pixels"][:] = torch.from_numpy(StubEnv([[5, 6]]).frames())
    assert cost() == 0
    assert cost() == 0
    assert world.calls == 6


def test_actions_are_read_as_the_environment_carries_them_out():
    world, info = stub(action_block=2), dots([[[5, 5]], [[5, 5]]])
    double = lambda actions: np.asarray(actions) * 2 + 1  # noqa: E731
    costable = as_costable(world, cost=COST, to_env=double, bounds=([-1.0, -1.0], [1.0, 4.0]))
    block = torch.tensor([0.5, 1.0, -2.0, 2.0])  # to (2, 3), (-3, 5), clipped to (1, 3), (-1, 4)
    assert float(costable.get_cost(shown(info, 1), block.view(1, 1, 1, 4))) == (0**2 + 7**2) / 2


def test_gradients_flow_though_a_solver_without_them_came_before():
    world, info = small_world(), {}
    info["pixels"] = info["goal"] = torch.randint(0, 256, (1, 1, 16, 16, 3), dtype=torch.uint8)
    costable, actions = as_costable(world), torch.zeros(1, 2, 2, 4, requires_grad=True)
    with torch.inference_mode():
        before = costable.get_cost(shown(info, 2), actions)
    costs = costable.get_cost(shown(info, 2), actions)
    costs.sum().backward()
    torch.testing.assert_close(costs.detach(), before.clone())
    assert actions.grad is not None
    assert (actions.grad != 0).any()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in world.parameters())


def test_what_cannot_be_read_is_refused():
    costable, info = as_costable(stub()), shown(dots([[[5, 5]], [[8, 3]]]), 1)
    stay = torch.zeros(1, 1, 1, 2)
    with pytest.raises(ValueError, match="info has no 'goal'"):
        costable.get_cost({"pixels": info["pixels"]}, stay)
    with pytest.raises(ValueError, match=r"info\['pixels'\] must be pictures"):
        costable.get_cost(info | {"pixels": info["pixels"][..., 0]}, stay)
    with pytest.raises(ValueError, match="must hold arrays"):
        costable.get_cost(info | {"pixels": "?"}, stay)
    with pytest.raises(ValueError, match="candidates are 3 wide; an action block of this model has 2"):
        costable.get_cost(info, torch.zeros(1, 1, 1, 3))
    with pytest.raises(ValueError, match="bounds are 1 wide"):
        as_costable(stub(), bounds=([0.0], [1.0]))
    world = stub()
    world.train()
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        as_costable(world).get_cost(info, stay)
    world.predictor = None
    with pytest.raises(ValueError, match="no action predictor"):
        as_costable(world)


def test_their_cem_solver_plans_with_our_model():
    reason = "needs stable-worldmodel"
    solvers = pytest.importorskip("stable_worldmodel.solver", reason=reason)
    policy = pytest.importorskip("stable_worldmodel.policy", reason=reason)
    world, seen = small_world(), []
    frames = torch.randint(0, 256, (3, 2, 16, 16, 3), dtype=torch.uint8)
    costable = as_costable(world, cost=COST)

    def get_cost(info, candidates):
        seen.append((candidates, costable.get_cost(info, candidates)))
        return seen[-1][1]

    listening = SimpleNamespace(get_cost=get_cost)
    solver = solvers.CEMSolver(listening, batch_size=2, num_samples=64, n_steps=8, topk=8)
    space = gymnasium.spaces.Box(-1, 1, (3, 2), np.float32)
    plan_config = policy.PlanConfig(horizon=3, receding_horizon=1, action_block=2)
    solver.configure(action_space=space, n_envs=3, config=plan_config)
    found = solver({"pixels": frames[:, :1], "goal": frames[:, 1:]})
    assert found["actions"].shape == (3, 3, 4)
    assert len(seen) == 2 * 8  # two environments, then the third
    with torch.no_grad():
        latents = world.encode(frames.movedim(-1, 2))
        for rows, (candidates, costs) in ((slice(0, 2), seen[7]), (slice(2, 3), seen[15])):
            expected = rollout_cost(world, latents[rows, :1], latents[rows, 1], cost=COST)
            torch.testing.assert_close(expected(candidates.clone()), costs.clone())
            best = costs.topk(8, dim=1, largest=False).values.mean(dim=1)
            torch.testing.assert_close(torch.tensor(found["costs"][rows]), best.clone())
            idle = expected(torch.zeros(len(costs), 1, 3, 4))[:, 0]
            assert (expected(found["actions"][rows].unsqueeze(1))[:, 0] < idle).all()
