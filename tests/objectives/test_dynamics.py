"""Latent dynamics against a literal reference, term by term."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.objectives.noise_windows import HEADS, PLAIN, windows, world
from worldjepa.model.action_predictor import ActionPredictor
from worldjepa.model.frames import as_unit_range, normalise_pixels
from worldjepa.objectives.dynamics import Draws, LatentDynamics
from worldjepa.objectives.regularizers import covariance_term, sigreg_term, variance_term
from worldjepa.types import Batch


@pytest.mark.parametrize("loss", ["l1", "l2", "cosine"])
@pytest.mark.parametrize("target", ["ema", "none"])
def test_terms_equal_a_literal_reference(loss, target):
    model = world(target=target)
    batch = windows()
    weights = PLAIN | {"inverse_dynamics": 1.0, "time_similarity": 1.0}
    objective = LatentDynamics(model, loss=loss, weights=weights, rollout_steps=2, null_actions=0.0)
    terms, _ = objective(batch)
    x = normalise_pixels(as_unit_range(batch.frames))
    assert batch.actions is not None and model.predictor is not None
    actions = (batch.actions - torch.tensor([0.5, 0.0] * 2)) / torch.tensor([2.0, 1.0] * 2)
    compare = {
        "l1": lambda p, q: (p - q).abs().mean(),
        "l2": lambda p, q: (p - q).square().mean(),
        "cosine": lambda p, q: (1 - F.cosine_similarity(p, q, dim=-1)).mean(),
    }[loss]
    for row in range(4):
        z = F.layer_norm(model.encoder(x[row : row + 1]), (24,))
        y = z if model.target_encoder is None else F.layer_norm(model.target_encoder(x[row : row + 1]), (24,))
        taken = actions[row : row + 1]

        def run(past, count, taken=taken):
            assert model.predictor is not None
            return F.layer_norm(model.predictor(past, taken[:, :count])[:, -1:], (24,))

        forced = torch.cat([run(z[:, : i + 1], i + 1) for i in range(3)], dim=1)
        first = run(z[:, :1], 1)
        rolled = torch.cat([first, run(torch.cat([z[:, :1], first], dim=1), 2)], dim=1)
        said = objective.auxiliary["inverse_dynamics"](torch.cat([z[:, :-1], z[:, 1:]], dim=-1))
        expected = {
            "prediction": compare(forced, y[:, 1:]),
            "rollout": compare(rolled, y[:, 1:3]),
            "inverse_dynamics": (said - actions[row]).square().mean(),
            "time_similarity": (z[:, 1:] - z[:, :-1]).square().mean(),
        }
        for name, value in expected.items():
            torch.testing.assert_close(terms[name][row], value, atol=1e-5, rtol=1e-5, msg=name)


def test_a_rollout_is_given_measured_poses_by_a_predictor_with_kinematics():
    """V-JEPA 2-AC feeds what was measured at every step; without kinematics the first one is given alone."""
    model, draw = world(target="none"), torch.Generator().manual_seed(0)
    sizes: dict[str, Any] = {"dim": 24, "depth": 1, "num_heads": 2, "conditioning": "tokens"}
    arm = {"action_dim": 14, "proprioception_dim": 7, "kinematics": "end_effector"}
    model.predictor = predictor = ActionPredictor(latent_dim=24, grid=(2, 2), **sizes, **arm)
    model.action_stats, objective = None, LatentDynamics(model, weights=PLAIN, rollout_steps=3)
    z = F.layer_norm(torch.randn(2, 4, 4, 24, generator=draw), (24,))
    actions, poses = (torch.randn(2, *shape, generator=draw) for shape in ((3, 14), (4, 7)))
    for kinematics, known in (("end_effector", 3), (None, 1)):
        predictor.kinematics, given, past = kinematics, torch.full((2, 3, 7), torch.nan), z[:, :1]
        given[:, :known] = poses[:, :known]
        for step in range(3):
            said = predictor(past, actions[:, : step + 1], proprioception=given[:, : step + 1])
            past = torch.cat([past, F.layer_norm(said[:, -1:], (24,))], dim=1)
        found = objective.roll_out(z, actions, poses)
        torch.testing.assert_close(found, past[:, 1:], atol=1e-5, rtol=0)


def test_regularisers_see_the_encoders_latents_by_place_and_sigreg_by_step():
    model = world(target="none", latent_norm="none")
    weights = {"prediction": 1.0, "variance": 1.0, "covariance": 1.0, "sigreg": 1.0}
    objective = LatentDynamics(model, weights=weights, sigreg_projections=8)
    batch = windows()
    terms, _ = objective(batch, seed=5)
    z = model.encoder(normalise_pixels(as_unit_range(batch.frames)))
    same = lambda value: value  # noqa: E731
    by_place = [variance_term(z[:, :, place].flatten(0, 1), same) for place in range(4)]
    torch.testing.assert_close(terms["variance"], torch.stack(by_place).mean())
    rows = (z - z.mean(dim=(0, 1))).flatten(0, 2)
    torch.testing.assert_close(terms["covariance"], covariance_term(rows, same), atol=1e-5, rtol=1e-4)
    apart = [
        sigreg_term(z[:, step, place], same, generator=torch.Generator().manual_seed(5), num_projections=8)
        for step in range(4)
        for place in range(4)
    ]
    torch.testing.assert_close(terms["sigreg"], torch.stack(apart).mean())


def test_heads_are_compared_with_what_the_block_led_to():
    model = world(heads=HEADS)
    batch = windows()
    terms, _ = LatentDynamics(model, weights={"prediction": 1.0} | dict.fromkeys(HEADS, 1.0))(batch)
    x = normalise_pixels(as_unit_range(batch.frames))
    assert model.target_encoder is not None
    context, target = (F.layer_norm(part(x), (24,)) for part in (model.encoder, model.target_encoder))
    heads = model.heads
    assert batch.rewards is not None and batch.terminated is not None
    expected = {
        "reward": (heads["reward"](context[:, 1:]) - batch.rewards).square().mean(1),
        "termination": F.binary_cross_entropy_with_logits(
            heads["termination"](context[:, 1:]), batch.terminated.float(), reduction="none"
        ).mean(1),
        "proprioception": (heads["proprioception"](target) - batch.proprioception).square().mean((1, 2)),
        "pixels": (heads["pixels"](target[:, -1:]) - batch.frames[:, -1:] / 255).square().mean((1, 2, 3, 4)),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_what_is_left_out_does_not_depend_on_how_the_batch_is_divided():
    values = torch.zeros(32, 7, 2)
    whole = Draws(3, 0, 0.1).kept(values)
    parts = torch.cat([Draws(3, first, 0.1).kept(values[first : first + 8]) for first in range(0, 32, 8)])
    assert torch.equal(whole, parts)
    assert not torch.equal(whole, Draws(4, 0, 0.1).kept(values))
    assert not torch.equal(whole, Draws(3, 0, 0.1).kept(values, stream=1))
    share = 1 - Draws(0, 0, 0.1).kept(torch.zeros(4000, 5, 1)).float().mean()
    assert abs(share - 0.1) < 0.01


def test_the_gauges_get_copies_of_the_last_known_latent():
    from worldjepa.training.health import nearest_visible

    model = world()
    batch = windows()
    _, seen = LatentDynamics(model, weights=PLAIN, rollout_steps=2)(batch)
    assert seen.grid == (4, 2, 2) and seen.raw.shape == (4, 16, 24)
    assert seen.predictions[0].shape == (4, 8, 24)
    assert nearest_visible(seen.masks[0], seen.grid)[0].tolist() == [0, 1, 2, 3] * 2
    _, seen = LatentDynamics(model)(batch)
    assert seen.predictions[0].shape == (4, 4, 24)
    assert seen.masks[0].target[0].tolist() == [12, 13, 14, 15]
    assert nearest_visible(seen.masks[0], seen.grid)[0].tolist() == [8, 9, 10, 11]


def test_each_copy_of_the_projector_keeps_its_own_running_statistics():
    model = world(pooled=True, latent_norm="none")
    LatentDynamics(model, weights=PLAIN)(windows())
    assert model.target_encoder is not None
    ours, theirs = (
        dict(part.named_buffers())["projector.norm.running_mean"]
        for part in (model.encoder, model.target_encoder)
    )
    assert ours.abs().sum() > 0 and theirs.abs().sum() > 0 and not torch.allclose(ours, theirs)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="the model has no reward"):
        LatentDynamics(world(), weights={"prediction": 1.0, "reward": 1.0})
    with pytest.raises(ValueError, match=r"objective\.weights"):
        LatentDynamics(world(), weights={"prediction": 1.0, "varience": 1.0})
    plain = Batch(frames=windows().frames)
    with pytest.raises(ValueError, match="without actions"):
        LatentDynamics(world())(plain)
    lacking = Batch(frames=windows().frames, actions=windows().actions)
    objective = LatentDynamics(world(heads=("reward",)), weights={"prediction": 1.0, "reward": 1.0})
    with pytest.raises(ValueError, match="have no reward recorded"):
        objective(lacking)
