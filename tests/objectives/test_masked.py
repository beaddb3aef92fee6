"""The masked objective against a literal reference, and learning: one batch is overfitted."""

import copy

import pytest
import torch
import torch.nn.functional as F

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.masking import build_strategy, draw_masks
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.objectives.masked import MaskedPrediction
from worldjepa.objectives.objective import regression_loss


def build(**changes):
    torch.manual_seed(0)
    encoder = VideoEncoder(dim=32, depth=2, num_heads=2, patch_size=4)
    predictor = MaskedPredictor(latent_dim=32, dim=24, depth=2, num_heads=2, num_mask_tokens=2)
    target = copy.deepcopy(encoder).requires_grad_(False)
    for parameter in target.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return MaskedPrediction(encoder, target, predictor, **changes)


def batch(objective, rows=3):
    x = torch.randn(rows, 4, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    strategies = (build_strategy({"strategy": "random_tokens"}), build_strategy({"strategy": "future"}))
    return x, draw_masks(strategies, objective.encoder.grid(x), rows, seed=0, step=0)


@pytest.mark.parametrize("loss", ["l1", "l2", "smooth_l1", "cosine"])
def test_prediction_equals_a_literal_reference(loss):
    objective = build(loss=loss)
    x, masks = batch(objective)
    terms, seen = objective.terms(x, masks)
    rows = []
    for row in range(3):
        total = 0.0
        for setting, mask in enumerate(masks):
            here = type(mask)(mask.context[row : row + 1], mask.target[row : row + 1])
            context = objective.encoder.visible(x[row : row + 1], here.context)
            predicted = objective.predictor(context, here, seen.grid, setting)[0]
            target = F.layer_norm(objective.target_encoder(x[row : row + 1]).flatten(1, 2)[0], (32,))
            target = target[here.target[0]]
            each = {
                "l1": (predicted - target).abs(),
                "l2": (predicted - target) ** 2,
                "smooth_l1": F.smooth_l1_loss(predicted, target, reduction="none"),
                "cosine": 1 - (F.normalize(predicted, dim=1) * F.normalize(target, dim=1)).sum(1),
            }[loss]
            total += each.mean().item()
        rows.append(total / 2)
    torch.testing.assert_close(terms["prediction"], torch.tensor(rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["rope", "sincos"])
def test_settings_predicted_together_equal_each_alone(positions):
    objective = build()
    objective.predictor = MaskedPredictor(
        latent_dim=32, dim=24, depth=2, num_heads=2, num_mask_tokens=2, positions=positions
    )
    torch.nn.init.normal_(objective.predictor.mask_tokens)
    x, masks = batch(objective)
    grid = objective.encoder.grid(x)
    contexts = [torch.randn(3, mask.context.shape[1], 32) for mask in masks]
    together = objective.predictor.predict_settings(contexts, masks, grid)
    for setting, (context, mask) in enumerate(zip(contexts, masks, strict=True)):
        alone = objective.predictor(context, mask, grid, setting)
        torch.testing.assert_close(together[setting], alone, atol=1e-5, rtol=1e-5)


def test_bf16_gives_nearly_the_loss_and_gradients_of_float32():
    objective = build()
    x, masks = batch(objective)
    exact = objective.total(objective.terms(x, masks)[0])
    parameters = [p for p in objective.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(exact, parameters)
    with torch.autocast("cpu", torch.bfloat16):
        rough = objective.total(objective.terms(x, masks)[0])
    others = torch.autograd.grad(rough, parameters)
    assert abs(rough - exact) < 2e-2 * exact
    flat, other = (torch.cat([g.flatten() for g in each]) for each in (gradients, others))
    assert torch.nn.functional.cosine_similarity(flat, other, dim=0) > 0.98


def test_the_target_encoder_gets_no_gradient_and_the_others_do():
    objective = build(weights={"prediction": 1.0, "variance": 1.0, "covariance": 1.0, "sigreg": 1.0})
    x, masks = batch(objective)
    terms, _ = objective.terms(x, masks)
    assert set(terms) == {"prediction", "variance", "covariance", "sigreg"}
    objective.total(terms).backward()
    assert all(p.grad is None for p in objective.target_encoder.parameters())
    assert all(p.grad is not None for p in objective.encoder.parameters())
    assert all(p.grad is not None for p in objective.predictor.parameters())


def test_total_is_the_weighted_sum():
    objective = build(weights={"prediction": 2.0, "consistency": 0.5})
    terms = {"prediction": torch.tensor([1.0, 3.0]), "consistency": torch.tensor([1.0])}
    assert float(objective.total(terms)) == 4.5


def test_consistency_of_a_clip_with_itself_is_zero():
    objective = build(weights={"prediction": 1.0, "consistency": 1.0})
    x, masks = batch(objective)
    assert float(objective.terms(x, masks, second=x)[0]["consistency"].detach().abs().max()) < 1e-6


def test_one_batch_is_overfitted():
    """Against a fixed target encoder, the loss on one batch falls far below that of the mean latent."""
    objective = build(loss="l2")
    x, masks = batch(objective, rows=4)
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.0)
    spread = float(objective.terms(x, masks)[1].targets.var(dim=(0, 1)).mean())
    losses = []
    for _ in range(300):
        terms, _ = objective.terms(x, masks)
        loss = objective.total(terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * spread and losses[-1] < 0.2 * losses[0]


def test_unknown_terms_and_losses_are_refused():
    with pytest.raises(ValueError, match=r"objective\.weights"):
        build(weights={"prediction": 1.0, "varience": 1.0})
    with pytest.raises(ValueError, match="loss must be one of"):
        regression_loss(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1), "huber")
