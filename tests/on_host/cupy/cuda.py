"""The stand-in's device: memory pools, streams, graphs, and kernels that run on the host."""

import types
import weakref
from contextlib import contextmanager

import numpy as np

from on_host import build

# ---------------------------------------------------------------------- memory


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
TOTAL = 16 << 30  # bytes the device claims to have


class MemoryPool:
    """Counts the bytes of what lives; beyond its limit it is out of memory."""

    def __init__(self):
        self.limit, self.used, self.most = 0, 0, 0

    def malloc(self, n):
        raise NotImplementedError("the stand-in hands out arrays, not bytes")

    def take(self, n):
        if self.limit and self.used + n > self.limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {n:,} bytes (allocated so far: {self.used:,} bytes, "
                f"limit set to: {self.limit:,} bytes)."
            )
        self.used += n
        self.most = max(self.most, self.used)

    def give(self, n):
        self.used -= n

    def used_bytes(self):
        return self.used

    def total_bytes(self):
        return self.most

    def free_all_blocks(self):
        self.most = self.used

    def set_limit(self, size=None, fraction=None):
        self.limit = size or 0

    def get_limit(self):
        return self.limit


_default_pool = MemoryPool()
_pool = _default_pool
_living = {}  # id -> weak reference: gives the bytes back when it dies


def get_memory_pool():
    return _default_pool


@contextmanager
def using_allocator(malloc):
    global _pool
    before, _pool = _pool, malloc.__self__
    try:
        yield
    finally:
        _pool = before


def allocate(shape, dtype):
    """Memory on the device: every byte 255, which is NaN in floats."""
    shape = (shape,) if np.isscalar(shape) else tuple(shape)
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64))
    if _capture is not None and _pool is _default_pool:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported: allocation from the common pool")
    pool, nbytes = _pool, size * dtype.itemsize
    pool.take(nbytes)
    room = np.frombuffer(bytearray(b"\xff" * max(nbytes, 1)), "u1")[:nbytes].view(dtype)

    def dead(reference):
        del _living[key]
        pool.give(nbytes)

    array = room.reshape(shape)
    base = array
    while base.base is not None and isinstance(base.base, np.ndarray):
        base = base.base  # views of the array keep this one alive
    key = id(base)
    _living[key] = weakref.ref(base, dead)
    return array


class MemoryPointer:
    def __init__(self, memory):
        self.memory = memory
        self.ptr = memory.ctypes.data

    def memset_async(self, value, n, stream=None):
        perform(lambda: self.memory.view("u1").reshape(-1)[:n].fill(value))


def alloc_pinned_memory(n):
    return bytearray(n)


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
        pass

    def record(self, stream=None):
        pass

    def synchronize(self):
        wait_for_device("synchronize")


class Graph:
    def __init__(self, work):
        self._work = work

    def launch(self, stream=None):
        for work in self._work:
            work()

    def upload(self, stream=None):
        pass


def perform(work, fresh=None, result=None, stream=None):
    """Do this work on the device now, or when the graph that captures it runs."""
    if _capture is not None and (stream or get_current_stream()) is _capturing:
        _capture.append(work)
    elif result is not None:
        np.copyto(fresh, result)
    else:
        work()


def wait_for_device(why):
    if _capture is not None and get_current_stream() is _capturing:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {why} during capture")


# ---------------------------------------------------------------------- the device and its kernels


class Device:
    def __init__(self, number=0):
        self.id = number
        self.mem_info = (TOTAL, TOTAL)
        self.compute_capability = "90"
        self.attributes = {"MultiProcessorCount": 132}

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
        return TOTAL, TOTAL

    @staticmethod
    def getDeviceProperties(_):
        return {"name": b"stand-in", "totalGlobalMem": TOTAL}


runtime = _Runtime()


def is_available():
    return build.problem() is None


class RawModule:
    """Compiled with g++ instead of NVRTC: see on_host/build.py."""

    def __init__(self, *, code, options=(), name_expressions=None, **_):
        (kind,) = [option for option in options if option.startswith("-DREAL=")]
        self._dtype = {"-DREAL=float": "float32", "-DREAL=double": "float64"}[kind]

    def get_function(self, name):
        return _Function(self._dtype, name)


class _Function:
    launches = 0  # of all kernels

    def __init__(self, dtype, name):
        self._dtype, self._name = dtype, name

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        import cupy

        arguments = []
        for a in args:
            if isinstance(a, cupy.ndarray):
                if not a.flags.c_contiguous:
                    raise ValueError(f"{self._name}: an array with strides {a.strides}")
                arguments.append(a._memory)
            elif isinstance(a, np.generic):
                arguments.append(None if a.dtype == np.uintp and a == 0 else a)
            else:
                raise TypeError(f"{self._name}: a {type(a).__name__} among the arguments")
        _Function.launches += 1
        perform(lambda: build.launch(self._dtype, self._name, grid, block, arguments))


class RawKernel:
    """Good for the one kernel of scratchvae/detect.py."""

    def __init__(self, code, name, options=()):
        if name != "twice":
            raise NotImplementedError(name)

    def __call__(self, grid, block, args, **_):
        (x,) = args
        x._memory.reshape(-1)[:1] *= 2
