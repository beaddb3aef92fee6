"""Where the gradients of latent dynamics go, in which precision, and learning: one batch is overfitted."""

import pytest
import torch
import torch.nn.functional as F

from tests.objectives.noise_windows import HEADS, PLAIN, windows, world
from worldjepa.model.frames import as_unit_range, normalise_pixels
from worldjepa.objectives.dynamics import LatentDynamics


def gradients(model, weights, names, **settings):
    """Return which parts of a model get a gradient from the loss."""
    objective = LatentDynamics(model, weights=weights, **settings)
    objective.total(objective(windows())[0]).backward()
    touched = lambda part: any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())  # noqa: E731
    return {name: touched(dict(model.named_modules())[name]) for name in names}


def test_gradients_reach_what_is_trained_and_nothing_else():
    parts = ("encoder", "predictor")
    assert gradients(world(), PLAIN, (*parts, "target_encoder")) == dict.fromkeys(parts, True) | {
        "target_encoder": False
    }
    assert gradients(world(frozen=True), PLAIN, parts) == {"encoder": False, "predictor": True}
    for name in HEADS:
        model = world(frozen=name != "reward", heads=(name,))
        assert gradients(model, PLAIN | {name: 1.0}, (f"heads.{name}",))[f"heads.{name}"]
    for name, reaches in (
        ("reward", True),
        ("termination", True),
        ("proprioception", False),
        ("pixels", False),
    ):
        model = world(heads=(name,))
        objective = LatentDynamics(model, weights={"prediction": 1.0, name: 1.0})
        objective(windows())[0][name].mean().backward()
        assert any(p.grad is not None for p in model.encoder.parameters()) == reaches, name


def test_without_a_target_the_gradient_goes_through_both_sides():
    """The last latent is only ever a target: its frame moves the encoder all the same."""
    model = world(target="none")
    objective = LatentDynamics(model, loss="l2")
    frames = normalise_pixels(as_unit_range(windows().frames)).requires_grad_()
    objective.encode = lambda _: model.encoder(frames)  # type: ignore[method-assign]
    objective(windows())[0]["prediction"].sum().backward()
    assert frames.grad is not None and frames.grad[:, -1].abs().sum() > 0


def test_null_actions_and_unmeasured_proprioception_are_trained():
    model = world(proprioception=3)
    objective = LatentDynamics(model, weights=PLAIN, null_actions=0.5, rollout_steps=3)
    terms, _ = objective(windows(), seed=1)
    objective.total(terms).backward()
    assert model.predictor is not None
    for name in ("null_action", "null_proprioception"):
        null = model.predictor.get_parameter(name)
        assert null.grad is not None and null.grad.abs().sum() > 0
    same = LatentDynamics(model, weights=PLAIN, null_actions=0.5, rollout_steps=3)(windows(), seed=1)[0]
    other = LatentDynamics(model, weights=PLAIN, null_actions=0.5, rollout_steps=3)(windows(), seed=2)[0]
    assert torch.equal(same["prediction"], terms["prediction"])
    assert not torch.equal(other["prediction"], terms["prediction"])
    assert torch.equal(other["rollout"], terms["rollout"])  # a rollout is given every action


def test_bf16_gives_nearly_the_loss_and_gradients_of_float32():
    model = world(target="none", pooled=True, latent_norm="none")
    objective = LatentDynamics(
        model, weights=PLAIN | {"sigreg": 0.1, "inverse_dynamics": 1.0}, rollout_steps=3
    )
    parameters = [p for p in objective.parameters() if p.requires_grad]
    exact = objective.total(objective(windows(16))[0])
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(exact, parameters)])
    with torch.autocast("cpu", torch.bfloat16):
        rough = objective.total(objective(windows(16))[0])
    found = torch.cat([g.flatten() for g in torch.autograd.grad(rough, parameters)])
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)
    assert F.cosine_similarity(wanted, found, dim=0) > 0.98


@pytest.mark.parametrize("pooled", [False, True])
def test_one_batch_is_overfitted_also_rolled_out(pooled):
    model = world(pooled=pooled, latent_norm="none" if pooled else "layer")
    objective = LatentDynamics(model, weights=PLAIN, rollout_steps=3, null_actions=0.0)
    optimizer = torch.optim.AdamW(
        [p for p in objective.parameters() if p.requires_grad], lr=3e-3, weight_decay=0
    )
    losses = []
    for _ in range(100):
        terms, _ = objective(windows())
        optimizer.zero_grad()
        objective.total(terms).backward()
        optimizer.step()
        losses.append(terms["rollout"].mean().item())
    assert losses[-1] < 0.1 * losses[0]
