"""PyTorch's side of ops.py: each op as users of PyTorch call it. A function of torch.nn.functional
or torch with the op's name and order of arguments is found by its name; the others are below."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jobs import difference
from measure import RUNS
from theirs import FORMATS, tensor


def upsample_nearest(x: Any, scale_factor: Any) -> Any:
    return F.interpolate(x, scale_factor=scale_factor)


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


WRITTEN_HERE = (upsample_nearest, mean_logvar, reparameterize, bce, mse, kl, kl_free_bits, elbo)
OWN: dict[str, Callable[..., Any]] = {f.__name__: f for f in WRITTEN_HERE}


def function(op: str) -> Callable[..., Any]:
    """PyTorch's function for this op; ValueError if there is none."""
    if found := OWN.get(op) or getattr(F, op, None) or getattr(torch, op, None):
        return found
    if op.endswith("_leaky_relu"):
        before = function(op.removesuffix("_leaky_relu"))
        return lambda *arrays, negative_slope=0.01, **options: F.leaky_relu(
            before(*arrays, **options), negative_slope
        )
    raise ValueError(
        f"{op}: neither torch.nn.functional nor torch has a function of this name; write it in "
        "benchmarks/their_ops.py"
    )


def prepare_op(
    op: str,
    options: dict[str, Any],
    arrays: dict[str, np.ndarray],
    moving: list[str],
    y: np.ndarray,
    dy: np.ndarray,
) -> float:
    """Make RUNS["NCHW forward"] and so on. Backward is only autograd's pass over a retained graph.
    Returns the largest difference of the results from y."""
    RUNS.clear()
    call, errors = function(op), []
    images = next(iter(arrays.values())).ndim == 4
    for name in FORMATS if images else ["NCHW"]:
        tensors = {key: tensor(a, name).requires_grad_(key in moving) for key, a in arrays.items()}
        forward = partial(call, *tensors.values(), **options)
        result = forward()
        errors.append(difference(y, result.detach()))
        gradient = tensor(dy, name).to(result.dtype)
        inputs = [tensors[key] for key in moving]
        RUNS[f"{name} forward"] = forward
        RUNS[f"{name} backward"] = partial(
            torch.autograd.grad, result, inputs, gradient, retain_graph=True
        )
    return max(errors)
