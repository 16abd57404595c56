"""Memory order: arrays are indexed as NCHW, but channels are last in memory. `turned` transposes
block by block, so that the cache lines it reads and writes stay in the cache."""

import numpy as np

from .. import jit
from ..runtime.memory import empty
from ..runtime.threads import cores, share

BLOCK = 32


def to_nhwc(x):
    """(N, C, H, W) -> (N, H, W, C), contiguous; a view, if x has this order in memory."""
    nhwc = x.transpose(0, 2, 3, 1)
    if nhwc.flags.c_contiguous:
        return nhwc
    N, C, H, W = x.shape
    return turned(np.ascontiguousarray(x).reshape(N, C, H * W)).reshape(N, H, W, C)


def to_nchw(x):
    """(N, H, W, C) -> (N, C, H, W): a view."""
    return x.transpose(0, 3, 1, 2)


def turned(a):
    """(N, R, S) -> (N, S, R), contiguous."""
    N, R, S = a.shape
    out = empty((N, S, R), a.dtype)
    if cores() > N:
        share(lambda part: _turn(a, out, part.start, part.stop), S, 0.5 * a.size)
    else:
        share(lambda part: _turn(a[part], out[part], 0, S), N, 0.5 * a.size)
    return out


@jit
def _turn(a, out, start, stop):
    """Columns start..stop of a become rows of out."""
    N, R, _ = a.shape
    for n in range(N):
        for s0 in range(start, stop, BLOCK):
            for r0 in range(0, R, BLOCK):
                for s in range(s0, min(s0 + BLOCK, stop)):
                    for r in range(r0, min(r0 + BLOCK, R)):
                        out[n, s, r] = a[n, r, s]
