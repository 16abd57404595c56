"""Sums over all axes except the channel axis."""

from . import BLOCKS, THREADS, blocks_for, contiguous, empty, launch, launch_each

LEAST = 4  # values that a thread should at least add


def parts_per_channel(x):
    """How many parts a channel's values are cut into, so that all multiprocessors have work."""
    values = x.size // x.shape[1]
    return max(1, min(BLOCKS // x.shape[1], values // (LEAST * THREADS)))


def channel_sums(x):
    """(C,) of x (N, C) or (N, C, H, W)."""
    x, (N, C) = contiguous(x), x.shape[:2]
    sums = empty((C,), x.dtype)
    if x.size == N * C:
        launch("column_sums", blocks_for(C, 32), x, sums, N, C, threads=1024)
        return sums
    count = parts_per_channel(x)
    parts = empty((C, count), "float64")
    launch("channel_parts", C * count, x, parts, N, C, x.size // (N * C), count)
    launch_each("add_channel_parts", C, sums, parts, count)
    return sums
