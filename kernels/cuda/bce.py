"""Cross-entropy: a block for each image, loss and gradient in one pass."""

from . import blocks_for, contiguous, empty, empty_like, launch


def bce_forward(logits, target):
    logits, target = contiguous(logits), contiguous(target)
    N = len(logits)
    y, difference = empty((N,), logits.dtype), empty_like(logits)
    launch("bce", "bce_forward", N, logits, target, y, difference, logits.size // N)
    cache = (difference,)  # s(l) - t
    return y, cache


def bce_backward(dy, cache):
    (difference,) = cache
    dlogits = empty_like(difference)
    count = difference.size
    arguments = contiguous(dy), difference, dlogits, count // len(dy), count
    launch("bce", "bce_backward", blocks_for(count), *arguments)
    return dlogits
