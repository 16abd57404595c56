"""Every op as PyTorch's users have it: a function of torch or torch.nn.functional, or the line or
two that they write. Arrays come in the order that ours have, options under the names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F


def then_leaky_relu(function: Callable[..., Any]) -> Callable[..., Any]:
    def both(*arrays: Any, negative_slope: float = 0.01, **options: Any) -> Any:
        return F.leaky_relu(function(*arrays, **options), negative_slope)

    return both


def mean_logvar(x: Any, eps: float = 1e-6) -> Any:
    x = x.flatten(1)
    return torch.stack([x.mean(1), torch.log(x.var(1, correction=0) + eps)])


def reparameterize(mu: Any, logvar: Any, eps: Any) -> Any:
    return mu + torch.exp(0.5 * logvar) * eps


def bce(logits: Any, target: Any) -> Any:
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return each.flatten(1).sum(1)


def mse(prediction: Any, target: Any) -> Any:
    return F.mse_loss(prediction, target, reduction="none").flatten(1).mean(1)


def kl(mu: Any, logvar: Any) -> Any:
    return -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).flatten(1).sum(1)


def kl_free_bits(mu: Any, logvar: Any, free_bits: float) -> Any:
    each = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp())
    return torch.where(each.mean(0) < free_bits, free_bits, each).flatten(1).sum(1)


def elbo(reconstruction: Any, kl: Any, beta: float) -> Any:
    return torch.stack([(reconstruction + beta * kl).mean(), reconstruction.mean(), kl.mean()])


OPS: dict[str, Callable[..., Any]] = {
    "conv2d": F.conv2d,
    "conv_transpose2d": F.conv_transpose2d,
    "linear": F.linear,
    "batch_norm": F.batch_norm,
    "conv2d_leaky_relu": then_leaky_relu(F.conv2d),
    "conv_transpose2d_leaky_relu": then_leaky_relu(F.conv_transpose2d),
    "linear_leaky_relu": then_leaky_relu(F.linear),
    "batch_norm_leaky_relu": then_leaky_relu(F.batch_norm),
    "max_pool2d": F.max_pool2d,
    "avg_pool2d": F.avg_pool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "upsample_nearest": F.interpolate,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "mean_logvar": mean_logvar,
    "reparameterize": reparameterize,
    "bce": bce,
    "mse": mse,
    "kl": kl,
    "kl_free_bits": kl_free_bits,
    "elbo": elbo,
}
