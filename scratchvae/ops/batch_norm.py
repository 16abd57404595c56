"""Batch normalisation, one mean and one variance per channel.

    mean[c]   = average of x over all axes but the channels';  M values each
    var[c]    = average of (x - mean[c])^2                      (biased: divided by M)
    x_hat     = (x - mean[c]) / sqrt(var[c] + eps)
    y         = w[c] x_hat + b[c]

    db[c]     = sum of dy
    dw[c]     = sum of dy x_hat
    dx        = w[c] / sqrt(var[c] + eps) * (dy - average(dy) - x_hat average(dy x_hat))

    x (N, C) or (N, C, H, W), all else (C,)  ->  y like x

The two averages in dx are there because x also moves the mean and the variance. For dy = 1 they
make dx zero, because the sum of y over a channel is M b[c] for every x. A check with dy = 1 would
therefore miss most mistakes: use a random dy.

In evaluation mean and var are the running ones, constants, and dx = w[c] dy / sqrt(var[c] + eps).
Training updates the running ones with momentum and, as in PyTorch, with the unbiased variance:

    running_mean <- (1 - momentum) running_mean + momentum mean
    running_var  <- (1 - momentum) running_var  + momentum var M / (M - 1)

In training, one NaN or infinity in x makes the whole channel of y NaN, and the running mean too.
(After an infinity, the running mean of the body below and of PyTorch is infinite.)

Derivation: docs/backward.md.
Source: Ioffe & Szegedy, "Batch Normalization" (arXiv:1502.03167), algorithms 1 and 2, section 3.
"""

from ..backend import accelerated, array_module
from .cases import Case, positive


def batch_norm_arguments(
    x, running_mean, running_var, w, b, training=False, momentum=0.1, eps=1e-5
):
    """x must have 2 or 4 axes and, in training, more than one value per channel."""
    if x.ndim not in (2, 4):
        raise ValueError(f"x must have axes (N, C) or (N, C, H, W), got shape {x.shape}")
    if training and x.size == x.shape[1]:
        raise ValueError(
            f"training needs more than one value per channel, got x of shape {x.shape}"
        )
    return x, running_mean, running_var, w, b, bool(training), float(momentum), float(eps)


def batch_norm_naive(x, running_mean, running_var, w, b, training=False, momentum=0.1, eps=1e-5):
    """The first four formulas in plain loops, a channel at a time."""
    xp = array_module(x)
    y = xp.empty_like(x)
    for c in range(x.shape[1]):
        values = x[:, c].ravel()
        M = len(values)
        mean = sum(values) / M if training else running_mean[c]
        var = sum((value - mean) ** 2 for value in values) / M if training else running_var[c]
        y[:, c] = w[c] * (x[:, c] - mean) / xp.sqrt(var + eps) + b[c]
    return y


def _per_channel(vector, x):
    """(C,) -> (C,) or (C, 1, 1), which broadcasts against x."""
    return vector.reshape(-1, *(1,) * (x.ndim - 2))


def _sum(x):
    """Sums (C,): each image first, because one long float32 sum over NHWC memory loses 2 digits."""
    return (x.sum(axis=(2, 3)) if x.ndim == 4 else x).sum(axis=0)


BATCH_NORM_SHAPES = "x (N, C, ...), running_mean (C), running_var (C), w (C), b (C)"


@accelerated(BATCH_NORM_SHAPES, arguments=batch_norm_arguments)
def batch_norm_forward(x, running_mean, running_var, w, b, training, momentum, eps):
    """y, cache, new (running_mean, running_var): the formulas at the top. No input changes."""
    if training:
        M = x.size // x.shape[1]
        mean = _sum(x) / M  # (C,)
        squares = (x - _per_channel(mean, x)) ** 2  # x.var() would not be complex-safe
        var = _sum(squares) / M  # (C,)
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * (var * (M / (M - 1)))
    else:
        mean, var = running_mean, running_var
    inv_std = (var + eps) ** -0.5  # (C,)
    x_hat = (x - _per_channel(mean, x)) * _per_channel(inv_std, x)
    y = _per_channel(w, x) * x_hat + _per_channel(b, x)
    cache = (x_hat, inv_std, w, training)
    return y, cache, (running_mean, running_var)


@accelerated
def batch_norm_backward(dy, cache):
    """dx, dw, db."""
    x_hat, inv_std, w, training = cache
    db = _sum(dy)  # (C,)
    dw = _sum(dy * x_hat)  # (C,)
    scale = _per_channel(w * inv_std, dy)
    if not training:
        return scale * dy, dw, db
    M = dy.size // dy.shape[1]  # db / M and dw / M are the two averages of the formula
    dx = scale * (dy - _per_channel(db / M, dy) - x_hat * _per_channel(dw / M, dy))
    return dx, dw, db


CASES = [
    Case(
        {"x": (4, 3, 2, 3), "running_mean": (3,), "running_var": (3,), "w": (3,), "b": (3,)},
        {"training": True},
        linear=("w", "b"),
        constants=("running_mean", "running_var"),
        draw={"running_var": positive},
        variant="training",
        mixes=True,
    ),
    Case(
        {"x": (4, 3, 2, 3), "running_mean": (3,), "running_var": (3,), "w": (3,), "b": (3,)},
        {"training": False},
        linear=("x", "w", "b"),
        constants=("running_mean", "running_var"),
        draw={"running_var": positive},
        variant="evaluation",
    ),
]
