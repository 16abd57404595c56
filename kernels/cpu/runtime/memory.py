"""Memory for results, used again: a training step asks for the same sizes every time.

A large array fresh from the system costs a page fault for every 4 kB, often more than to compute
its content. `empty` takes a block that an earlier array has left; the block comes back when the
last view of the new array dies, so live arrays never share memory. Content is undefined. `scratch`
is for a kernel's own use: a signal handler or a finalizer that computes gets other memory than what
it interrupts. `release`, which every model's end calls, gives free blocks back to the system.
"""

import mmap
import weakref
from functools import partial
from math import prod
from threading import get_ident

import numpy as np

from .threads import SMALL as FEW
from .threads import share_rows

SMALL = 1 << 16  # bytes: below, the C library does it well
HUGE_PAGE = 1 << 21
KEPT = 1 << 22  # bytes: larger scratch memory is not kept for its thread

# By default, mmap shares such memory with all forks, which would write into each other's arrays.
PRIVATE = {}
if hasattr(mmap, "MAP_PRIVATE"):  # not on Windows, which has no fork
    PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}


class _Free(list):
    """Leases that have ended, with their blocks, most recently used last. A lease calls it at its
    end, when no Python may run: a finalizer prints and drops exceptions, even a Ctrl-C."""

    __call__ = list.append


class _Closed(list):
    """What `release` makes of a _Free: a lease that ends is not kept, and its block goes."""

    __call__ = list.count


_free = {}  # (bits of the size, thread that has it as scratch memory or None): a _Free


def empty(shape, dtype, thread=None):
    """An array like np.empty's; large ones start at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = int(dtype.itemsize * prod(shape))
    if size < SMALL:
        return np.empty(shape, dtype)
    bits = (size - 1).bit_length()  # a block has 2^bits bytes: arrays of like sizes take turns
    key = bits, thread if size <= KEPT else None
    free = _free.get(key)
    if free is None:
        free = _free.setdefault(key, _Free())
    try:
        block = free.pop().block
    except IndexError:
        block = _Block(1 << bits)
    return np.asarray(_Lease(block, free, shape, dtype))


def scratch(shape, dtype):
    """`empty` for a kernel's own use: blocks of this thread, perhaps still in its core's cache."""
    return empty(shape, dtype, get_ident())


def zeros(shape, dtype):
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
    """The axis of the images, then the others by falling stride. So cores can share the images, and
    each image is one row (`images_as_rows`), whatever the order in `a`."""
    if a.flags.c_contiguous:
        return range(a.ndim)
    return sorted(range(a.ndim), key=lambda axis: (axis > 0, -abs(a.strides[axis])))


def elements(function, *arrays, cost=0.2):
    """y of the first array's shape and memory order, and fill(), which calls function(*arrays, y).
    Arrays of one shape become flat views (copies, if in another memory order than y); `cost`:
    nanoseconds for an element. Many elements are shared between the cores."""
    y = empty_like(arrays[0])
    order = memory_order(y)
    flat = [np.ascontiguousarray(a.transpose(order)).reshape(-1) for a in (*arrays, y)]
    if cost * y.size < FEW:
        return y, partial(function, *flat)
    return y, partial(share_rows, function, cost * y.size, flat)


def images_as_rows(a):
    """An array of `empty_like` as (N, P): a view, each image's numbers in their order in memory."""
    return a.transpose(memory_order(a)).reshape(len(a), -1)


def release():
    """Give free blocks back to the system; those in use now follow when their arrays die."""
    global _free
    before, _free = _free, {}
    for free in [*before.values()]:  # another thread may be adding one
        free.__class__ = _Closed
        free.clear()


class _Block:
    """Pages from the system, that go back to it when the block dies."""

    def __init__(self, size):
        pages = mmap.mmap(-1, size, **PRIVATE)
        if size >= HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)  # one is found faster than 512 small ones
        self.bytes = np.frombuffer(pages, np.uint8)
        self.address = self.bytes.ctypes.data


class _Lease:
    """What an array from `empty` is a view of. It dies with the last such view."""

    def __init__(self, block, free, shape, dtype):
        self.end = _End(self, free)
        self.end.block = block
        self.__array_interface__ = {
            "data": (block.address, False),
            "shape": tuple(shape),
            "typestr": dtype.str,
            "version": 3,
        }


class _End(weakref.ref):
    """A lease's end: its block outlives it here."""

    __slots__ = ("block",)
