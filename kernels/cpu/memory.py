"""Memory for results, used again and again: a training step asks for the same sizes every time.

    y = empty(shape, dtype)

A large array fresh from the system costs a page fault for every 4 kB, often more than to compute
its content. `empty` takes a block that an earlier array has left, and the block comes back when the
last view of the new array dies; so two live arrays never share memory. Content is undefined.

Blocks that nobody uses go back to the system with `release`, which every model's end calls.
"""

import itertools
import mmap
import threading
from math import prod

import numpy as np

SMALL = 1 << 16  # bytes: below, the C library does it well
HUGE_PAGE = 1 << 21
KEPT = 1 << 22  # of scratch memory, for each name and thread

# By default, mmap shares such memory with all forks, which would write into each other's arrays.
PRIVATE = {}
if hasattr(mmap, "MAP_PRIVATE"):  # not on Windows, where nobody forks
    PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}

_free = []  # blocks without a tenant, most recently used last
_generation = itertools.count()
_now = next(_generation)
_scratch = threading.local()


def empty(shape, dtype):
    """An array like np.empty's; large ones start at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * prod(shape)
    if size < SMALL:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_find(size), shape, dtype))


def zeros(shape, dtype):
    """The same, filled with zeros."""
    a = empty(shape, dtype)
    a.fill(0)
    return a


def empty_like(a):
    """An array of a's shape and dtype, its axes in a's `memory_order`, without gaps."""
    if a.flags.c_contiguous:
        return empty(a.shape, a.dtype)
    order = memory_order(a)
    return empty([a.shape[axis] for axis in order], a.dtype).transpose(np.argsort(order))


def memory_order(a):
    """The axis of the images, then the others, those first whose neighbours lie farthest apart.

    The images come first even where they do not in `a`, so that a kernel can give some of them to
    each core, and can see an image as one row: `images_as_rows`.
    """
    return sorted(range(a.ndim), key=lambda axis: (axis > 0, -abs(a.strides[axis])))


def images_as_rows(a):
    """An array of `empty_like` as (N, P): a view, each image's numbers in their order in memory."""
    return a.transpose(memory_order(a)).reshape(len(a), -1)


def scratch(name, shape, dtype):
    """An array for a kernel's own use, until this thread asks for the name again. Undefined."""
    size = np.dtype(dtype).itemsize * prod(shape)
    kept = _scratch.__dict__
    if name not in kept or kept[name].size < size:
        buffer = empty((size,), np.uint8)
        if size > KEPT:
            return buffer.view(dtype).reshape(shape)
        kept[name] = buffer
    return kept[name][:size].view(dtype).reshape(shape)


def release():
    """Give unused blocks back to the system; those in use now follow when their arrays die."""
    global _now
    _now = next(_generation)
    _free.clear()


def _find(size):
    """The smallest free block that holds `size` bytes and is not more than twice too large."""
    while True:
        fitting = [block for block in list(_free) if size <= block.size <= 2 * size]
        if not fitting:
            return _Block(size)
        block = min(fitting, key=lambda block: block.size)
        try:
            _free.remove(block)
            return block
        except ValueError:  # another thread was faster
            continue


class _Block:
    """Pages from the system, that go back to it when the block dies."""

    def __init__(self, size):
        if 2 * size > HUGE_PAGE:  # one large page is found faster than 512 small ones
            size = -(-size // HUGE_PAGE) * HUGE_PAGE
        pages = mmap.mmap(-1, size, **PRIVATE)
        if size >= HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)
        self.size, self.generation = size, _now
        self.bytes = np.frombuffer(pages, np.uint8)
        self.address = self.bytes.ctypes.data


class _Lease:
    """What an array from `empty` is a view of. It dies with the last such view."""

    def __init__(self, block, shape, dtype):
        self.block = block
        self.__array_interface__ = {
            "data": (block.address, False),
            "shape": tuple(shape),
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self, free=_free):
        if self.block.generation == _now:
            free.append(self.block)
