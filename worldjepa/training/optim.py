"""AdamW over two groups of parameters, and every schedule as a pure function of the step.

A step is counted from 0: ``learning_rate(0, ...)`` is the rate of the first update and
``learning_rate(total - 1, ...)`` that of the last. Nothing is remembered, so resuming is assignment.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import nn

from worldjepa.config import OptimConfig

T = TypeVar("T")


def learning_rate(step: int, total: int, optim: OptimConfig) -> float:
    """Return the learning rate of update ``step`` of ``total``.

    It rises in a line from ``start_lr`` over ``warmup`` (a share of ``total``), the last warm-up step
    having ``lr``; then wsd stays and falls in a line over the last ``cooldown`` share, cosine falls at
    once along half a cosine, constant stays. wsd and cosine give the last update ``final_lr``.
    """
    peak = _known(optim.lr, "optim.lr")
    warmup, cooldown = round(_known(optim.warmup, "optim.warmup") * total), round(optim.cooldown * total)
    done = step + 1  # counted as if the update were made: the first has a rate above start_lr
    if done < warmup:
        return _line(optim.start_lr, peak, done / warmup)
    if optim.schedule == "constant":
        return peak
    if optim.schedule == "cosine":
        share = (done - warmup) / max(1, total - warmup)
        return _line(optim.final_lr, peak, 0.5 * (1.0 + math.cos(math.pi * min(1.0, share))))
    if optim.schedule == "wsd":
        if warmup + cooldown > total:
            raise ValueError(
                f"optim.warmup={optim.warmup} and optim.cooldown={optim.cooldown} are shares of the run "
                "and together exceed 1; lower one of them"
            )
        return peak if cooldown == 0 else _line(optim.final_lr, peak, min(1.0, (total - done) / cooldown))
    raise ValueError(f"optim.schedule={optim.schedule!r}; expected wsd, cosine or constant")


def weight_decay(step: int, total: int, optim: OptimConfig) -> float:
    """Return the weight decay of update ``step``: in a line from the first value to the second."""
    return _line(*optim.weight_decay, _progress(step, total))


def ema_momentum(step: int, total: int, optim: OptimConfig) -> float:
    """Return the EMA momentum after update ``step``: in a line from the first value to the second."""
    return _line(*_known(optim.ema, "optim.ema"), _progress(step, total))


def _known(value: T | None, name: str) -> T:
    if value is None:
        raise ValueError(f"{name} is unset; give it a value or let the device's profile fill it in")
    return value


def _line(first: float, second: float, share: float) -> float:
    """Return the point at ``share`` of the way, exactly ``first`` at 0 and ``second`` at 1."""
    return first + (second - first) * share if share < 0.5 else second - (second - first) * (1.0 - share)


def _progress(step: int, total: int) -> float:
    """Return 0 at the first update and 1 at the last."""
    return min(1.0, step / max(1, total - 1))


# --- AdamW ---------------------------------------------------------------------------------------


def decays(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Tell whether ``parameter``, called ``name`` in the ``module`` that owns it, takes weight decay.

    Only matrices of linear layers and convolutions do: two axes or more and called ``weight`` (or
    ``..._weight``). Biases, norms, mask tokens, position tables and embeddings do not.
    """
    matrix = parameter.ndim >= 2 and (name == "weight" or name.endswith("_weight"))
    return matrix and not isinstance(module, (nn.Embedding, nn.LayerNorm, nn.RMSNorm))


def parameter_groups(model: nn.Module) -> list[dict]:
    """Split the trained parameters of ``model`` into one group with and one without weight decay."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    seen: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                groups[decays(module, name, parameter)].append(parameter)
    return [{"params": params, "decays": key} for key, params in groups.items() if params]


def make_optimizer(model: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW over ``parameter_groups(model)``, fused where the device has it.

    The rates are placeholders: call ``set_rates`` before every update.
    """
    groups = parameter_groups(model)
    if not groups:
        raise ValueError("the model has no parameter that requires a gradient")
    beta1, beta2 = optim.betas
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=0.0, betas=(beta1, beta2), eps=optim.eps, fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, step: int, total: int, optim: OptimConfig) -> float:
    """Give every group its learning rate and weight decay for update ``step``; return the rate."""
    rate, decay = learning_rate(step, total, optim), weight_decay(step, total, optim)
    for group in optimizer.param_groups:
        group["lr"] = rate
        group["weight_decay"] = decay if group["decays"] else 0.0
    return rate
