"""Running statistics that fit the weights, which training at a high rate leaves behind."""

import dataclasses

import torch

import worldjepa
from tests.training.tiny_world import EMA, EMA_WEIGHTS, Windows, settings, trainer
from worldjepa.model.projector import BatchNorm
from worldjepa.training.settling import SettledTrainer, settle_statistics


def features(encoder, frames):
    """Return what reaches the BatchNorm of an encoder's projector, a row a latent step."""
    seen = []
    hook = encoder.projector.norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder(frames)
    hook.remove()
    return seen[0].detach().flatten(0, -2)


def test_statistics_are_the_means_over_the_batches_of_each_encoder(tmp_path):
    config = settings(model=EMA, objective={"weights": EMA_WEIGHTS})
    model = trainer(config, tmp_path).model
    assert model.target_encoder is not None
    for parameter in model.target_encoder.parameters():
        parameter.data.mul_(1.5)
    model.target_encoder.eval()
    modes = [encoder.training for encoder in (model.encoder, model.target_encoder)]
    batches = [next(Windows(config, step)) for step in range(3)]
    settle_statistics(model, batches)
    for encoder, mode in zip((model.encoder, model.target_encoder), modes, strict=True):
        assert encoder.training == mode
        encoder.eval()  # to look on without moving them
        rows = [features(encoder, model.prepare(batch.frames)) for batch in batches]
        norm = next(part for part in encoder.modules() if isinstance(part, BatchNorm))
        means = torch.stack([one.mean(0) for one in rows]).mean(0)
        variances = torch.stack([one.var(0, correction=0) for one in rows]).mean(0)
        torch.testing.assert_close(norm.running_mean, means, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(norm.running_var, variances, rtol=1e-3, atol=1e-8)
        assert norm.momentum == 0.1


def test_latents_of_a_settled_run_are_centred_and_those_of_another_are_not(tmp_path):
    """At a rate of 0.01 for eight steps, running statistics hang behind the weights."""
    config = settings(optim={"lr": 1e-2, "schedule": "constant", "warmup": 0.0}, train={"steps": 8})
    off = []
    for name in ("plain", "settled"):
        run = trainer(config, tmp_path / name)
        if name == "settled":
            given = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
            run = SettledTrainer(**given)
        assert run.run()
        model = worldjepa.load(tmp_path / name, device="cpu")
        frames = torch.cat([next(Windows(config, step)).frames for step in range(8)])
        latents = model.encode(frames).detach()
        off.append(float(latents.mean(dim=(0, 1, 2)).abs().mean()))
    assert off[0] > 0.3
    assert off[1] < 0.15
