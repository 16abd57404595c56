"""Binary cross-entropy from logits: -log p(x|z) of a Bernoulli decoder, in nats per image.

    y[n]    = -sum over pixels of  t log s(l) + (1 - t) log(1 - s(l)),   s(l) = 1 / (1 + exp(-l))
            =  sum over pixels of  log(1 + exp(l)) - t l
    dlogits = dy[n] (s(l) - t)

    logits l (N, ...), target t like it, 0 <= t <= 1  ->  y (N,)

From probabilities, s would have to be clipped away from 0 and 1 before the log. Logits need no
clipping: log(1 + exp(l)) = max(l, 0) + log(1 + exp(-|l|)), and exp(-|l|) is at most 1. Grey levels
t are taken as probabilities. An infinite logit makes y NaN (infinity - infinity), PyTorch's is inf.
Source: Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), appendix C.1.
"""

import math

from ..backend import accelerated, array_module
from .cases import Case, probabilities


def bce_naive(logits, target):
    """The first formula in plain loops, for moderate logits: large ones end in log(0)."""
    y = array_module(logits).zeros(len(logits), logits.dtype)
    for n, (image_logits, image) in enumerate(zip(logits, target, strict=True)):
        for logit, t in zip(image_logits.ravel(), image.ravel(), strict=True):
            s = 1 / (1 + math.exp(-logit))
            y[n] -= t * math.log(s) + (1 - t) * math.log(1 - s)
    return y


@accelerated("logits (N, P, ...), target (N, P, ...) in [0, 1]")
def bce_forward(logits, target):
    """y, cache: the formulas at the top of this file."""
    xp = array_module(logits)
    pixels = tuple(range(1, logits.ndim))
    positive = logits.real > 0  # instead of abs and maximum, for the complex step
    e = xp.exp(xp.where(positive, -logits, logits))  # exp(-|l|)
    softplus = xp.where(positive, logits, 0) + xp.log1p(e)  # log(1 + exp(l))
    y = (softplus - target * logits).sum(axis=pixels)  # (N,)
    s = xp.where(positive, 1, e) / (1 + e)  # sigmoid(l), for backward
    cache = (s, target)
    return y, cache


@accelerated
def bce_backward(dy, cache):
    """dlogits. The target is data: it gets no gradient."""
    s, target = cache
    dy = dy.reshape(-1, *(1,) * (s.ndim - 1))  # (N, 1, ...)
    return dy * (s - target)


CASES = [
    Case(
        {"logits": (3, 2, 4), "target": (3, 2, 4)},
        constants=("target",),
        draw={"target": probabilities},
    )
]
