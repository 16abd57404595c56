"""Squared error of an image, averaged or summed over its pixels.

    y[n]        = 1/P * sum over pixels of (p - t)^2       reduction "mean", P pixels an image
                =       sum over pixels of (p - t)^2       reduction "sum"
    dprediction = dy[n] 2 (p - t) / P                      or without the P

    prediction p (N, ...), target t like it  ->  y (N,)

The sum is -log p(x|z) of a Gaussian decoder with variance 1/2, up to a constant. This variance is
an arbitrary choice, so the squared error is not given in nats.
"""

from ..backend import accelerated, array_module
from .cases import Case


def mse_arguments(prediction, target, reduction="mean"):
    """Turn the reduction into a divisor, P or 1."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    return prediction, target, prediction[0].size if reduction == "mean" else 1


def mse_naive(prediction, target, reduction="mean"):
    """The first formula in plain loops."""
    y = array_module(prediction).zeros(len(prediction), prediction.dtype)
    for n, (p, t) in enumerate(zip(prediction, target, strict=True)):
        squares = [(a - b) ** 2 for a, b in zip(p.ravel(), t.ravel(), strict=True)]
        y[n] = sum(squares) / (len(squares) if reduction == "mean" else 1)
    return y


@accelerated("prediction (N, P, ...), target (N, P, ...)", arguments=mse_arguments)
def mse_forward(prediction, target, divisor):
    """y, cache: the formulas at the top of this file. reduction: "mean" or "sum"."""
    difference = prediction - target
    y = (difference**2).sum(axis=tuple(range(1, difference.ndim))) / divisor  # (N,)
    cache = (difference, divisor)
    return y, cache


@accelerated
def mse_backward(dy, cache):
    """dprediction. The target is data: it gets no gradient."""
    difference, divisor = cache
    dy = dy.reshape(-1, *(1,) * (difference.ndim - 1))  # (N, 1, ...)
    return dy * difference * (2 / divisor)


CASES = [
    Case(
        {"prediction": (3, 2, 4), "target": (3, 2, 4)},
        {"reduction": reduction},
        constants=("target",),
        variant=reduction,
    )
    for reduction in ("mean", "sum")
]
