"""From the patch tokens of a latent step to one pooled latent.

LeWM (arXiv:2603.19312) predicts pooled latents behind an MLP and BatchNorm: a norm over the width would hold
every latent on a sphere, where SIGReg cannot make them normal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.model.layers.linear import Linear

POOLS = ("flatten", "mean")
NORMS = ("batch", "none")


class Projector(nn.Module):
    """Pool the ``num_tokens`` tokens of each latent step, then an MLP to ``latent_dim``, in float32.

    Frames of one scene differ little: what BatchNorm makes large of their differences must not be rounding.
    ``pool``: flatten (the MLP sees every token, and where it stands) or mean. ``norm`` at the end: batch
    (BatchNorm without affine) or none.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_tokens: int,
        latent_dim: int = 96,
        hidden_dim: int = 512,
        pool: str = "flatten",
        norm: str = "batch",
    ):
        super().__init__()
        if pool not in POOLS or norm not in NORMS:
            raise ValueError(
                f"pool must be one of {', '.join(POOLS)} and norm one of {', '.join(NORMS)}, "
                f"got {pool!r} and {norm!r}"
            )
        self.num_tokens, self.latent_dim, self.pool = num_tokens, latent_dim, pool
        self.fc1 = Linear(dim * num_tokens if pool == "flatten" else dim, hidden_dim)
        self.fc2 = Linear(hidden_dim, latent_dim, bias=norm != "batch")  # BatchNorm takes any bias away
        self.norm = BatchNorm(latent_dim) if norm == "batch" else nn.Identity()

    def forward(self, tokens: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t 1 z"]:
        """Return one latent a step.

        Raises:
            ValueError: another number of tokens than the projector was built for.
        """
        if tokens.shape[2] != self.num_tokens:
            raise ValueError(
                f"a latent step has {tokens.shape[2]} tokens; this projector was built for "
                f"{self.num_tokens}: pass frames of the size that the model was trained with"
            )
        pooled = tokens.flatten(2) if self.pool == "flatten" else tokens.mean(dim=2)
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = pooled.to(self.fc1.weight.dtype)
            return self.norm(self.fc2(self.fc1(pooled, gelu=True))).unsqueeze(2)


class BatchNorm(nn.Module):
    """BatchNorm without affine over all axes but the last, in float32, over the whole batch of all ranks.

    ``mean`` averages a tensor over ranks and is differentiable (``training.distributed.all_reduce_mean``);
    torch's SyncBatchNorm refuses CPU tensors. The running variance is the one training divides by, not the
    unbiased one. An EMA copy keeps running statistics of its own: it has to see the batches in training mode.
    """

    running_mean: Tensor
    running_var: Tensor
    mean: Callable[[Tensor], Tensor] = staticmethod(lambda values: values)

    def __init__(self, dim: int, *, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Normalise by the batch in training mode, by the running statistics in eval mode."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if not self.training:
            return (x - self.running_mean) * (self.running_var + self.eps).rsqrt()
        rows = tuple(range(x.ndim - 1))
        mean = self.mean(x.mean(dim=rows))
        variance = self.mean((x - mean).square().mean(dim=rows))
        self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.detach().to(self.running_var.dtype), self.momentum)
        return (x - mean) * (variance + self.eps).rsqrt()


class Readout(nn.Module):
    """Read ``out_dim`` numbers from all tokens of a latent step together.

    Each token is narrowed first, so that the width does not grow with their number; with one token it is an
    MLP of two hidden layers.
    """

    def __init__(self, *, dim: int, num_tokens: int, out_dim: int, hidden_dim: int = 256):
        super().__init__()
        narrow = max(8, hidden_dim // num_tokens)
        self.narrow = Linear(dim, narrow)
        self.fc = Linear(narrow * num_tokens, hidden_dim)
        self.out = Linear(hidden_dim, out_dim)

    def forward(self, latents: Float[Tensor, "*b p d"]) -> Float[Tensor, "*b o"]:
        """Return the numbers read, in float32."""
        hidden = F.gelu(self.fc(F.gelu(self.narrow(latents)).flatten(-2)))
        out = self.out(hidden)
        return out.to(torch.promote_types(out.dtype, torch.float32))
