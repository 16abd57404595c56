"""When a batch does not fit into the GPU's memory: how large one may be, measured."""

from __future__ import annotations

import gc
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from ..models import Model

Result = TypeVar("Result")
GIB = 2**30
FEW, MORE = 32, 64  # images in the two batches that are measured
SURE = 0.9  # of the free bytes: batches on their way, noise and gaps take some


def in_memory(work: Callable[[], Result], name: str, model: Model, N: int) -> Result:
    """`work()`. On the GPU, should memory run out, MemoryError says which batch fits.

    Parameters
    ----------
    name : str
        What to call the work in the message.
    N : int
        The images in its batch.
    """
    try:
        return work()
    except MemoryError:
        if model.device != "cuda":
            raise
    # Out of the except block, the traceback is gone, and with it all that its frames held.
    for module in model.modules():
        module._cache = None
    gc.collect()  # an optimizer and its graphs know each other
    fits, free, total = _largest_batch(model)
    advice = f"about {fits:,} would" if fits else f"not even one of {MORE} would"
    raise MemoryError(
        f"{name}: a batch of {N:,} images does not fit into the GPU's memory ({free / GIB:.2f} of "
        f"{total / GIB:.2f} GiB free); {advice}"
    )


def _largest_batch(model: Model) -> tuple[int, int, int]:
    """How many images a training step may have, the bytes that are free, and all bytes."""
    import cupy

    common = cupy.get_default_memory_pool()
    common.free_all_blocks()
    free, total = cupy.cuda.runtime.memGetInfo()
    if limit := common.get_limit():
        free, total = min(free, limit - common.used_bytes()), min(total, limit)
    try:
        few, more = _bytes_of_step(cupy, model, FEW), _bytes_of_step(cupy, model, MORE)
    except MemoryError:
        return 0, free, total
    each = (more - few) / (MORE - FEW)
    return max(0, int(FEW + (SURE * free - few) / each)), free, total


def _bytes_of_step(cupy: Any, model: Model, N: int) -> int:
    """What a forward and backward pass over N images holds at most, in a pool of their own."""
    trial = deepcopy(model)
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        x = cupy.full((N, *model.image_shape), model.data_range[0], model.dtype)
        trial.loss(x, cupy.zeros((N, *model.latent_shape), model.dtype))
        trial.backward()
    return pool.total_bytes()
