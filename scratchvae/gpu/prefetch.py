"""Copy the next batch to the GPU while the GPU computes on the current one.

The GPU copies from pinned memory, which the operating system never moves, on a stream of its own,
without the host. Two slots alternate: one is read while the other is filled.
Source: NVIDIA, "CUDA C++ Best Practices Guide", overlap of transfers and computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class _Slot:
    """A batch in pinned memory and on the GPU, and the events after which it may be overwritten."""

    def __init__(self, cupy: Any, batch: np.ndarray) -> None:
        memory = cupy.cuda.alloc_pinned_memory(batch.nbytes)
        self.pinned = np.frombuffer(memory, batch.dtype, batch.size).reshape(batch.shape)
        self.device = cupy.empty(batch.shape, batch.dtype)
        self.copied, self.read = cupy.cuda.Event(), cupy.cuda.Event()
        self.read.record()  # work enqueued earlier may still use this memory


def prefetch(batches: Iterable[np.ndarray], stream: Any) -> Iterator[Any]:
    """Each batch on the GPU, for work on `stream` enqueued before the next batch is requested. The
    first batch must be the largest."""
    import cupy

    copying = cupy.cuda.Stream(non_blocking=True)
    slots: list[_Slot] = []
    try:
        for number, batch in enumerate(batches):
            if len(slots) < 2:
                slots.append(_Slot(cupy, batch))
            slot, N = slots[number % 2], len(batch)
            slot.copied.synchronize()  # now the pinned memory may be overwritten
            np.copyto(slot.pinned[:N], batch)
            copying.wait_event(slot.read)  # then the array on the GPU may be overwritten
            slot.device[:N].set(slot.pinned[:N], stream=copying)
            slot.copied.record(copying)
            stream.wait_event(slot.copied)
            yield slot.device[:N]
            slot.read.record(stream)
    finally:
        copying.synchronize()  # no copy may be reading the pinned memory when it is freed
