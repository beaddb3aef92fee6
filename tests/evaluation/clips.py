"""Tiny models and videos that several tests of evaluations look at."""

import torch

from worldjepa.model.encoder import VideoEncoder
from worldjepa.model.predictor import MaskedPredictor
from worldjepa.model.world_model import WorldModel


def tiny_model(attention="full", depth=2, masked=True):
    """Return a model of 8 x 8 patches and tubelets of 2 frames, with weights that do something."""
    torch.manual_seed(0)
    settings = {"dim": 32, "depth": depth, "num_heads": 2, "patch_size": 8, "attention": attention}
    encoder, target = VideoEncoder(**settings), VideoEncoder(**settings)
    predictor = MaskedPredictor(latent_dim=32, dim=16, depth=1, num_heads=2) if masked else None
    model = WorldModel(encoder=encoder, target_encoder=target, masked_predictor=predictor, image_size=16)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def target(model):
    """Return the model's target encoder, which it has."""
    assert model.target_encoder is not None
    return model.target_encoder


def videos(rows=3, frames=8, size=16, seed=0):
    """Return random videos, uint8 [b f c y x]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, frames, 3, size, size), dtype=torch.uint8, generator=generator)
