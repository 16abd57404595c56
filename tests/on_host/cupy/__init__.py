"""A stand-in for CuPy on machines without a GPU, for tests only: the names that scratchvae uses.

Its arrays are in host memory, but behave like CuPy's where it matters: they are never converted to
NumPy arrays implicitly, they reject NumPy arrays as operands, and every copy between host and
device is counted. New memory contains NaN. While a stream captures, work is recorded instead of
done, and waiting for a result or copying to the host raises an error, as on a GPU.
"""

import functools
import operator
from collections import Counter

import numpy as np

from . import cuda
from ._raw import RawKernel, RawModule
from .cuda import perform, wait_for_device

__version__ = "14.0 (stand-in)"
copies = Counter()  # "to device", "to host": how often each happened


def _host(a):
    """The memory of an argument; NumPy arrays raise a TypeError, as in CuPy."""
    if isinstance(a, ndarray):
        return a._memory
    if isinstance(a, np.ndarray):
        raise TypeError(f"Unsupported type {type(a)}")
    if isinstance(a, (tuple, list)):
        return type(a)(map(_host, a))
    return a


def _run(function, *args, keep_order=False, **kwargs):
    """Compute with the memory of the arguments; views stay views. As in CuPy, results are row-major
    for every order of the inputs, except for a few functions that keep the order."""
    args = [_host(a) for a in args]
    kwargs = {name: _host(a) for name, a in kwargs.items()}
    result = function(*args, **kwargs)
    inputs = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
    if isinstance(result, np.ndarray) and any(np.may_share_memory(result, a) for a in inputs):
        return ndarray(result)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    fresh = _allocate_like(result) if keep_order else cuda.allocate(result.shape, result.dtype)
    perform(lambda: np.copyto(fresh, function(*args, **kwargs)), fresh, result)
    return ndarray(fresh)


def _allocate_like(a, dtype=None):
    """New memory for this shape, with the axes in the order of a's strides: order="K"."""
    axes = sorted(range(a.ndim), key=lambda i: -abs(a.strides[i]))
    fresh = cuda.allocate([a.shape[i] for i in axes], dtype or a.dtype)
    return fresh.transpose([axes.index(i) for i in range(a.ndim)])


class ndarray:
    """An array on the device."""

    __array_ufunc__ = None  # np.exp(a) and NumPy's operators raise TypeError
    __hash__ = None

    def __init__(self, memory):
        self._memory = memory

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    def get(self, stream=None, order="C", out=None, blocking=True):
        copies["to host"] += 1
        wait_for_device("get")
        if out is None:
            return self._memory.copy()
        out[...] = self._memory
        return out

    def set(self, arr, stream=None):
        copies["to device"] += 1
        perform(lambda: np.copyto(self._memory, arr), stream=stream)

    def _scalar(self, kind):
        copies["to host"] += 1
        wait_for_device(kind.__name__)
        return kind(self._memory)

    def __bool__(self):
        return self._scalar(bool)

    def __int__(self):
        return self._scalar(int)

    def __float__(self):
        return self._scalar(float)

    def item(self):
        return self._scalar(lambda memory: memory.item())

    def __len__(self):
        return len(self._memory)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        return _run(_item, self, index)

    def __setitem__(self, index, value):
        memory, index, value = self._memory, _host(index), _host(value)
        perform(lambda: memory.__setitem__(index, value))

    def fill(self, value):
        memory = self._memory
        perform(lambda: memory.fill(value))

    def __repr__(self):
        return f"array(shape={self.shape}, dtype={self.dtype}, on the device)"

    shape = property(lambda self: self._memory.shape)
    dtype = property(lambda self: self._memory.dtype)
    size = property(lambda self: self._memory.size)
    ndim = property(lambda self: self._memory.ndim)
    nbytes = property(lambda self: self._memory.nbytes)
    itemsize = property(lambda self: self._memory.itemsize)
    strides = property(lambda self: self._memory.strides)
    flags = property(lambda self: self._memory.flags)
    T = property(lambda self: ndarray(self._memory.T))
    real = property(lambda self: ndarray(self._memory.real))
    imag = property(lambda self: ndarray(self._memory.imag))
    data = property(lambda self: cuda.MemoryPointer(self._memory))

    @property
    def __cuda_array_interface__(self):
        raise NotImplementedError("the stand-in's memory cannot be shared with other libraries")


def _item(a, index):
    """a[index]; a single element is a 0-d view."""
    result = a[index]
    if isinstance(result, np.generic):
        return a[(*index, ...) if isinstance(index, tuple) else (index, ...)]
    return result


def _method(name):
    def method(self, *args, **kwargs):
        def call(a, *rest, **named):
            return getattr(a, name)(*rest, **named)

        return _run(call, self, *args, keep_order=name == "astype", **kwargs)

    return method


_METHODS = """
    all any argmax astype copy max mean min ravel repeat reshape squeeze sum transpose
"""
for _name in _METHODS.split():
    setattr(ndarray, _name, _method(_name))


def _run_on(a, function):
    return _run(function, a)


def _operator(name, reflected):
    function = getattr(operator, name)

    def forward(self, other):
        return _run(function, self, other)

    def backward(self, other):
        return _run(lambda a, b: function(b, a), self, other)

    def in_place(self, other):
        memory, other = self._memory, _host(other)
        perform(lambda: getattr(operator, f"i{name}")(memory, other))
        return self

    bare = name.strip("_")
    setattr(ndarray, f"__{bare}__", forward)
    if reflected:
        setattr(ndarray, f"__r{bare}__", backward)
        setattr(ndarray, f"__i{bare}__", in_place)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_"):
    _operator(_name, reflected=True)
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _operator(_name, reflected=False)
for _name in ("neg", "pos", "invert", "abs"):
    setattr(ndarray, f"__{_name}__", functools.partialmethod(_run_on, getattr(operator, _name)))


# ---------------------------------------------------------------------- functions


def empty(shape, dtype=float, order="C"):
    return ndarray(cuda.allocate(shape, dtype))


def zeros(shape, dtype=float, order="C"):
    a = empty(shape, dtype)
    perform(lambda: a._memory.fill(0))
    return a


def ones(shape, dtype=float):
    a = empty(shape, dtype)
    perform(lambda: a._memory.fill(1))
    return a


def asarray(a, dtype=None):
    if isinstance(a, ndarray):
        return a if dtype in (None, a.dtype) else a.astype(dtype)
    copies["to device"] += 1
    a = np.asarray(a, dtype)
    fresh = cuda.allocate(a.shape, a.dtype)
    perform(lambda: np.copyto(fresh, a))
    return ndarray(fresh)


def array(obj, dtype=None):
    return obj.astype(dtype or obj.dtype) if isinstance(obj, ndarray) else asarray(obj, dtype)


def asnumpy(a):
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def ascontiguousarray(a):
    return a if a.flags.c_contiguous else _run(np.array, a, order="C")


def empty_like(prototype, dtype=None):
    return ndarray(_allocate_like(prototype, dtype))


def full_like(a, fill_value, dtype=None):
    filled = empty_like(a, dtype)
    filled[...] = fill_value
    return filled


def zeros_like(a, dtype=None):
    return full_like(a, 0, dtype)


def ones_like(a, dtype=None):
    return full_like(a, 1, dtype)


def get_default_memory_pool():
    return cuda.default_pool()


def may_share_memory(a, b):
    return np.may_share_memory(a._memory, b._memory)


def _function(function):
    def call(*args, **kwargs):
        return _run(function, *args, **kwargs)

    call.__name__ = function.__name__
    return call


_FUNCTIONS = """
    abs arange argmax broadcast_to concatenate exp expm1 full isfinite isnan log log1p
    matmul max maximum mean min minimum moveaxis pad sign sqrt square stack sum swapaxes
    take_along_axis tanh tensordot transpose where
"""
for _name in _FUNCTIONS.split():
    globals()[_name] = _function(getattr(np, _name))

inf, nan, pi, newaxis = np.inf, np.nan, np.pi, None
float32, float64, int32, int64, uint32, uint64 = (
    np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64,
)  # fmt: skip


class lib:
    class stride_tricks:
        sliding_window_view = staticmethod(_function(np.lib.stride_tricks.sliding_window_view))


class linalg:
    norm = staticmethod(_function(np.linalg.norm))


__all__ = ["RawKernel", "RawModule", "cuda", "ndarray"]
