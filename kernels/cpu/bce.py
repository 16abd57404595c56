"""Cross-entropy and its gradient in one pass: both need exp(-|l|), which is computed once."""

import numpy as np

from . import ONE, ZERO, jit
from .runtime.memory import empty
from .runtime.threads import SMALL, share


def bce_forward(logits, target):
    N, shape = len(logits), logits.shape
    logits = np.ascontiguousarray(logits).reshape(N, -1)
    target = np.ascontiguousarray(target).reshape(N, -1)
    y, slope = empty((N,), logits.dtype), empty(logits.shape, logits.dtype)

    def work(part):
        e = np.abs(logits[part])
        np.negative(e, out=e)
        np.exp(e, out=e)  # NumPy's exp and log1p use SIMD
        _forward(logits[part], target[part], e, np.log1p(e), y[part], slope[part])

    cost = 3 * logits.size
    if cost < SMALL:
        work(slice(N))
    else:
        share(work, N, cost)
    cache = (slope.reshape(shape),)  # s(l) - t
    return y, cache


def bce_backward(dy, cache):
    (slope,) = cache
    dlogits = empty(slope.shape, slope.dtype)
    np.multiply(dy.reshape(-1, *(1,) * (slope.ndim - 1)), slope, out=dlogits)
    return dlogits


@jit
def _forward(logits, target, e, log1p_e, y, slope):
    for n in range(len(logits)):
        total = 0.0
        for p in range(logits.shape[1]):
            logit, t = logits[n, p], target[n, p]
            positive = logit > 0
            total += (logit if positive else ZERO) - t * logit + log1p_e[n, p]
            slope[n, p] = (ONE if positive else e[n, p]) / (ONE + e[n, p]) - t
        y[n] = total
