"""Reused memory for results: every training step needs arrays of the same sizes.

A large new array costs a page fault for every 4 kB, which often takes longer than computing its
content. `empty` reuses the block of an earlier array; the block becomes free again when the last
view of the new array is deleted, so live arrays never share memory. The content is undefined.
`scratch` is for a kernel's own use; a signal handler or finalizer that computes gets other memory
than the kernel it interrupts. `release`, called when a model is deleted, frees the unused blocks.
"""

import mmap
import weakref
from functools import partial
from math import prod
from threading import get_ident

import numpy as np

from .threads import SMALL as FEW
from .threads import share_rows

SMALL = 1 << 16  # bytes: below this size the C library is fast enough
HUGE_PAGE = 1 << 21
KEPT = 1 << 22  # bytes: larger scratch memory is not kept for its thread

# By default mmap shares memory with forked processes, which would overwrite each other's arrays.
PRIVATE = {}
if hasattr(mmap, "MAP_PRIVATE"):  # not on Windows, which has no fork
    PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}


class _Free(list):
    """Ended leases with their blocks, most recently used last. A weak reference calls it, and it
    must not run Python code then: Python drops exceptions in such callbacks, even a Ctrl-C."""

    __call__ = list.append


class _Closed(list):
    """The class that `release` gives to a _Free: leases that end are not kept, nor their blocks."""

    __call__ = list.count


_free = {}  # (bits of the size, thread whose scratch memory it is or None): a _Free


def empty(shape, dtype, thread=None):
    """An array like np.empty's; large ones start at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = int(dtype.itemsize * prod(shape))
    if size < SMALL:
        return np.empty(shape, dtype)
    bits = (size - 1).bit_length()  # 2^bits bytes, so that arrays of similar sizes share blocks
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
    """`empty` for a kernel's own use: blocks of this thread, which may still be in its cache."""
    return empty(shape, dtype, get_ident())


def zeros(shape, dtype):
    a = empty(shape, dtype)
    a.fill(0)
    return a


def empty_like(a):
    """A contiguous array of a's shape and dtype, with its axes in a's `memory_order`."""
    if a.flags.c_contiguous:
        return empty(a.shape, a.dtype)
    order = memory_order(a)
    return empty([a.shape[axis] for axis in order], a.dtype).transpose(np.argsort(order))


def memory_order(a):
    """The axis of the images first, then the others by decreasing stride, so that cores can divide
    the images and each image is one row (`images_as_rows`), whatever the order in `a`."""
    if a.flags.c_contiguous:
        return range(a.ndim)
    return sorted(range(a.ndim), key=lambda axis: (axis > 0, -abs(a.strides[axis])))


def elements(function, *arrays, cost=0.2):
    """y of the first array's shape and memory order, and fill(), which calls function(*arrays, y).
    The arrays become flat views (copies, if their memory order differs from y's). `cost`:
    nanoseconds per element; if there are many elements, the cores share them."""
    y = empty_like(arrays[0])
    order = memory_order(y)
    flat = [np.ascontiguousarray(a.transpose(order)).reshape(-1) for a in (*arrays, y)]
    if cost * y.size < FEW:
        return y, partial(function, *flat)
    return y, partial(share_rows, function, cost * y.size, flat)


def images_as_rows(a):
    """An array made by `empty_like` as (N, P): a view, each image in the order of its memory."""
    return a.transpose(memory_order(a)).reshape(len(a), -1)


def release():
    """Return free blocks to the system now, and used blocks when their arrays are deleted."""
    global _free
    before, _free = _free, {}
    for free in [*before.values()]:  # another thread may be adding one
        free.__class__ = _Closed
        free.clear()


class _Block:
    """Pages from the system, returned when the block is deleted."""

    def __init__(self, size):
        pages = mmap.mmap(-1, size, **PRIVATE)
        if size >= HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)  # one page fault instead of 512
        self.bytes = np.frombuffer(pages, np.uint8)
        self.address = self.bytes.ctypes.data


class _Lease:
    """The base of an array from `empty`. It is deleted with the last view of that array."""

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
    """Keeps the block of a lease after the lease is deleted."""

    __slots__ = ("block",)
