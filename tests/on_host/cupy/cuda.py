"""The stand-in's device: memory pools, streams and graphs."""

import time
import types
import weakref
from contextlib import contextmanager

import numpy as np

from on_host import build

# ---------------------------------------------------------------------- memory


class memory:
    class OutOfMemoryError(MemoryError):
        """CuPy's error, which exists in cupy.cuda.memory only."""


TOTAL = 16 << 30  # bytes of the simulated device
_pools = weakref.WeakSet()


class MemoryPool:
    """Counts the bytes of live arrays, and raises OutOfMemoryError beyond its limit."""

    def __init__(self):
        self._limit, self._used, self._most = 0, 0, 0
        _pools.add(self)

    def malloc(self, size):
        raise NotImplementedError("the stand-in allocates arrays, not bytes")

    def _take(self, n):
        if self._limit and self._used + n > self._limit:
            raise memory.OutOfMemoryError(
                f"Out of memory allocating {n:,} bytes (allocated so far: {self._used:,} bytes, "
                f"limit set to: {self._limit:,} bytes)."
            )
        if self._used + n > self._most + _free():
            raise memory.OutOfMemoryError(f"Out of memory allocating {n:,} bytes.")
        self._used += n
        self._most = max(self._most, self._used)

    def _give(self, n):
        self._used -= n

    def used_bytes(self):
        return self._used

    def total_bytes(self):
        return self._most

    def free_all_blocks(self):
        self._most = self._used

    def set_limit(self, size=None, fraction=None):
        self._limit = size or 0

    def get_limit(self):
        return self._limit


def _free():
    """Bytes of the device that no pool uses."""
    return TOTAL - sum(pool.total_bytes() for pool in _pools)


_default_pool = MemoryPool()
_pool = _default_pool
_living = {}  # id -> weak reference that returns the bytes when the array is deleted


@contextmanager
def using_allocator(allocator):
    global _pool
    before, _pool = _pool, allocator.__self__
    try:
        yield
    finally:
        _pool = before


def default_pool():
    return _default_pool


def allocate(shape, dtype):
    """Memory on the device: every byte 255, which is NaN in floats."""
    shape = (shape,) if np.isscalar(shape) else tuple(shape)
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64))
    if _capture is not None and _pool is _default_pool:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported: allocation from the common pool")
    pool, nbytes = _pool, size * dtype.itemsize
    pool._take(nbytes)
    room = np.frombuffer(bytearray(b"\xff" * max(nbytes, 1)), "u1")[:nbytes].view(dtype)

    def dead(reference):
        del _living[key]
        pool._give(nbytes)

    array = room.reshape(shape)
    base = array
    while base.base is not None and isinstance(base.base, np.ndarray):
        base = base.base  # views of the array keep this one alive
    key = id(base)
    _living[key] = weakref.ref(base, dead)
    return array


class MemoryPointer:
    def __init__(self, memory):
        self._memory = memory
        self.ptr = memory.ctypes.data

    def memset_async(self, value, size, stream=None):
        perform(lambda: self._memory.view("u1").reshape(-1)[:size].fill(value), stream=stream)


def alloc_pinned_memory(size):
    return bytearray(size)


# ---------------------------------------------------------------------- streams and graphs

_capture = None  # the work of the stream that captures
_capturing = None


class Stream:
    null = None

    def __init__(self, null=False, non_blocking=False):
        self.ptr = id(self)

    def __enter__(self):
        _current.append(self)
        return self

    def __exit__(self, *_):
        _current.pop()

    def begin_capture(self, mode=None):
        global _capture, _capturing
        _capture, _capturing = [], self

    def end_capture(self):
        global _capture, _capturing
        work, _capture, _capturing = _capture, None, None
        return Graph(work)

    def is_capturing(self):
        return _capturing is self

    def synchronize(self):
        wait_for_device("synchronize")

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        pass

    def use(self):
        _current[-1] = self
        return self


Stream.null = Stream()
_current = [Stream.null]


def get_current_stream():
    return _current[-1]


class Event:
    def __init__(self, block=False, disable_timing=False):
        self._seconds = None

    def record(self, stream=None):
        self._seconds = time.perf_counter()  # all earlier work is done, because it runs at once

    def synchronize(self):
        wait_for_device("synchronize")


def get_elapsed_time(start_event, end_event):
    """Milliseconds of the host's clock."""
    return 1e3 * (end_event._seconds - start_event._seconds)


class Graph:
    def __init__(self, work):
        self._work = work

    def launch(self, stream=None):
        for work in self._work:
            work()

    def upload(self, stream=None):
        pass


def perform(work, fresh=None, result=None, stream=None):
    """Do this work now, or, during a capture, whenever the graph runs."""
    if _capture is not None and (stream or get_current_stream()) is _capturing:
        _capture.append(work)
    elif result is not None:
        np.copyto(fresh, result)
    else:
        work()


def wait_for_device(why):
    if _capture is not None and get_current_stream() is _capturing:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {why} during capture")


# ---------------------------------------------------------------------- the device


class Device:
    id = 0
    mem_info = (TOTAL, TOTAL)
    compute_capability = "90"
    attributes = types.MappingProxyType({"MultiProcessorCount": 132})

    def __init__(self, device=0):
        pass

    def synchronize(self):
        wait_for_device("synchronize")


class _Runtime:
    streamCaptureModeThreadLocal = 1

    @staticmethod
    def driverGetVersion():
        return 13000

    @staticmethod
    def runtimeGetVersion():
        return 13000

    @staticmethod
    def memGetInfo():
        return _free(), TOTAL

    @staticmethod
    def getDeviceProperties(_):
        return {"name": b"stand-in", "totalGlobalMem": TOTAL}


runtime = _Runtime()


def is_available():
    return build.problem() is None
