"""Batches on their way to the GPU, while it computes on those before.

A copy from ordinary memory makes the host wait. From pinned memory, which the system never moves,
the GPU fetches by itself, on a stream of its own. Two places take turns: while a step reads one,
the next batch goes into the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class _Place:
    """Room for a batch on both sides, and when it is free again."""

    def __init__(self, cupy: Any, batch: np.ndarray) -> None:
        memory = cupy.cuda.alloc_pinned_memory(batch.nbytes)
        self.pinned = np.frombuffer(memory, batch.dtype, batch.size).reshape(batch.shape)
        self.device = cupy.empty(batch.shape, batch.dtype)
        self.copied, self.read = cupy.cuda.Event(), cupy.cuda.Event()
        self.read.record()  # whoever had this memory before may be busy with it still


def to_gpu(batches: Iterable[np.ndarray], stream: Any) -> Iterator[Any]:
    """Each batch on the GPU, for work on `stream`.

    A batch may be used by work that is enqueued before the next one is asked for. The first batch
    is the largest.
    """
    import cupy

    copying = cupy.cuda.Stream(non_blocking=True)
    places: list[_Place] = []
    try:
        for number, batch in enumerate(batches):
            if len(places) < 2:
                places.append(_Place(cupy, batch))
            place, N = places[number % 2], len(batch)
            place.copied.synchronize()  # the host's copy may be overwritten
            np.copyto(place.pinned[:N], batch)
            copying.wait_event(place.read)  # and so may the GPU's
            place.device[:N].set(place.pinned[:N], stream=copying)
            place.copied.record(copying)
            stream.wait_event(place.copied)
            yield place.device[:N]
            place.read.record(stream)
    finally:
        copying.synchronize()  # the pinned memory goes back, and nobody reads it any more
