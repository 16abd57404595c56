"""Which engine serves an array: numpy, numba or cuda.

An op's body is written once, against `xp` (NumPy or CuPy). `@accelerated` calls the function of the
same name in `kernels/<cpu|cuda>/<op>.py` instead if the array's engine has one. The body stays as
`.reference`; the tests hold every kernel equal to it.

    arguments     checked once, before any engine sees them
    forward       the array type picks cuda; `use` picks numpy or numba for arrays of the host
    backward      uses the engine of its forward, even if `use` has been called since
    complex128    always the reference body: complex-step differentiation goes through it
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .detect import gpu_problem, numba_problem
from .output import note

ENGINES = ("numpy", "numba", "cuda")
KERNEL_FOLDER = {"numba": "cpu", "cuda": "cuda"}  # numpy runs the bodies: it needs no kernels
FLOATS = ("float32", "float64", "complex128")
_FLOATS = {np.dtype(name) for name in FLOATS}
_MIXED = {np.dtype("float64"), np.dtype("complex128")}

# op -> its accelerated functions by name, in the order of definition
REGISTRY: dict[str, dict[str, Callable[..., Any]]] = {}

_engine = "numpy"  # until use() is called, ops run as they are written
_host_engine = "numpy"
_announced = False
_blocks: list[_Block] = []  # of `using`, in the order of their beginnings
_guard = threading.Lock()


# ---------------------------------------------------------------------- choosing an engine


def use(engine: str = "auto", *, tf32: bool = False) -> str:
    """Choose the engine and return its name.

    Parameters
    ----------
    engine : {"auto", "numpy", "numba", "cuda"}
        "numpy" runs the op bodies, "numba" the CPU kernels, "cuda" (alias "cupy") keeps models and
        batches on the GPU. "auto" takes cuda if a GPU works, else numba, and prints its choice.
    tf32 : bool
        On the GPU: let the matrix products of linear layers (not of convolutions) round float32
        factors to 10 bits, for the tensor cores.

    Raises
    ------
    ValueError
        For an unknown name.
    RuntimeError
        If the named engine cannot run here; the message says what to install. Also if another
        thread is in a block of `using` with another engine, as during `runs.train`.
    """
    global _engine, _host_engine
    if engine == "auto":
        engine = _choose(tf32)
    elif engine in ("cuda", "cupy"):
        engine = "cuda"
        if problem := gpu_problem():
            raise RuntimeError(f"use('cuda'): {problem}")
    elif engine == "numba":
        if problem := numba_problem():
            raise RuntimeError(f"use('numba'): {problem}")
    elif engine != "numpy":
        raise ValueError(
            f"use: engine must be 'auto', {', '.join(map(repr, ENGINES))}; got {engine!r}"
        )
    tf32 = tf32 and engine == "cuda"
    with _guard:
        if _other_threads() and (engine, tf32) != (_engine, tf32_allowed()):
            raise EngineInUse(
                f"use({engine!r}): another thread is using the engine {_engine}, and all threads "
                "share one: use that, or another process"
            )
        _engine = engine
        if engine != "cuda":
            _host_engine = engine
        _allow_tf32(tf32)
    return engine


def choose_quietly() -> None:
    """From now on `use("auto")` does not print its choice."""
    global _announced
    _announced = True


def _allow_tf32(allowed: bool) -> None:
    if allowed != tf32_allowed():
        importlib.import_module("scratchvae.kernels.cuda.blas").allow_tf32(allowed)


def tf32_allowed() -> bool:
    """Whether `use` allowed TF32 on the GPU."""
    blas = sys.modules.get("scratchvae.kernels.cuda.blas")
    return blas is not None and blas.tf32_allowed()


def _choose(tf32: bool) -> str:
    global _announced
    problem = gpu_problem()
    if problem is None:
        engine, why = "cuda", f"a GPU is available; TF32 {'on' if tf32 else 'off'}"
    elif numba_problem() is None:
        engine, why = "numba", f"no GPU: {problem}"
    else:
        engine, why = "numpy", f"no GPU: {problem}; {numba_problem()}"
    if not _announced:
        note(f"scratchvae: engine {engine} ({why})")
        _announced = True
    return engine


@contextmanager
def using(engine: str, *, tf32: bool = False) -> Iterator[str]:
    """`use(engine)` for a `with` block. It is for all threads: their blocks may overlap if they ask
    for the same engine, otherwise RuntimeError; the last one to end restores the engine before."""
    global _engine, _host_engine
    block = _Block(threading.get_ident(), (_engine, _host_engine), tf32_allowed())
    name = use(engine, tf32=tf32)
    _blocks.append(block)
    try:
        yield name
    finally:
        with _guard:
            _blocks.remove(block)
            if others := _other_threads():
                others[0].before, others[0].tf32 = block.before, block.tf32
            else:
                _engine, _host_engine = block.before
                _allow_tf32(block.tf32)


class EngineInUse(RuntimeError):
    """Another thread uses another engine."""


@dataclass(eq=False)
class _Block:
    """A block of `using`: its thread, and what to restore at its end."""

    thread: int
    before: tuple[str, str]
    tf32: bool


def _other_threads() -> list[_Block]:
    """The open blocks of other threads."""
    return [block for block in _blocks if block.thread != threading.get_ident()]


def current_engine() -> str:
    """The engine chosen with `use`."""
    return _engine


# ------------------------------------------------------------------------------ devices of arrays


def is_gpu_array(a: Any) -> bool:
    """Whether `a` is a CuPy array (without importing CuPy)."""
    return type(a) is not np.ndarray and type(a).__module__.partition(".")[0] == "cupy"


def is_array(a: Any) -> bool:
    """Whether `a` is a plain array of NumPy or CuPy, not np.matrix or a masked array."""
    if isinstance(a, np.ndarray):
        return type(a) is np.ndarray or not isinstance(a, (np.matrix, np.ma.MaskedArray))
    return is_gpu_array(a)


def array_module(a: Any) -> ModuleType:
    """NumPy or CuPy: the library that owns array `a`; the ops call it `xp`."""
    return importlib.import_module("cupy") if is_gpu_array(a) else np


def asarray(a: Any) -> Any:
    """`a` where the engine in use computes: a CuPy array under "cuda", else a NumPy array."""
    if _engine == "cuda":
        return importlib.import_module("cupy").asarray(a)
    return asnumpy(a)


def asnumpy(a: Any) -> np.ndarray:
    """`a` as a NumPy array, copied from the GPU if necessary."""
    return a.get() if is_gpu_array(a) else np.asarray(a)


def device_of(a: Any) -> str:
    """The device of array `a`: "cuda" or "cpu"."""
    return "cuda" if is_gpu_array(a) else "cpu"


def to_device(a: Any, device: str) -> Any:
    """`a` on the device "cuda" or "cpu"; not copied if it is there already."""
    return importlib.import_module("cupy").asarray(a) if device == "cuda" else asnumpy(a)


def engine_of(*arrays: Any) -> str:
    """The engine that serves these arrays; TypeError if some are on the GPU and some are not."""
    engine = _host_engine
    for a in arrays:
        if is_gpu_array(a) != is_gpu_array(arrays[0]):
            where = ", ".join("GPU" if is_gpu_array(a) else "CPU" for a in arrays)
            raise TypeError(f"arrays are on different devices ({where}): move them with sv.asarray")
        if a.dtype.kind == "c":
            return "numpy"
        if is_gpu_array(a):
            engine = "cuda"
    return engine


def check_batch(
    who: str,
    name: str,
    a: Any,
    shapes: Sequence[tuple[int, ...]],
    dtype: np.dtype,
    device: str,
    N: int | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """Raise an error unless `a` is a batch (of N, if given) of arrays of one of these shapes, of
    this dtype, on this device, with values within the limits.

    Values on the GPU are not checked, because the host would wait: there the cross-entropy of
    values outside [0, 1] is NaN.
    """
    if not is_array(a):
        raise TypeError(f"{who}: {name} must be a NumPy or CuPy array, got {type(a).__name__}")
    if a.shape[1:] not in shapes or (len(a) != N if N else len(a) == 0):
        batch, more = (N, "") if N else ("N", " with N > 0")
        expected = " or ".join(f"({batch}, {', '.join(map(str, shape))})" for shape in shapes)
        raise ValueError(f"{who}: {name} must have shape {expected}{more}, got {a.shape}")
    if a.dtype != dtype and (a.dtype, dtype) != ("float64", "complex128"):  # a complex step
        real = str(dtype).replace("complex128", "float64")
        hint = "; data.batches converts bytes to floats" if a.dtype == "uint8" else ""
        raise TypeError(f"{who}: {name} must be {real} like the model, got {a.dtype}{hint}")
    if device_of(a) != device:
        raise TypeError(
            f"{who}: {name} is on {device_of(a)}, the model on {device}: move one of them with "
            "sv.asarray or model.to"
        )
    if limits and device == "cpu":
        _check_limits(f"{who}: {name}", a, limits)


def _check_limits(name: str, a: np.ndarray, limits: tuple[float, float]) -> None:
    low, high = float(a.min()), float(a.max())
    least, most = a.dtype.type(limits[0]), a.dtype.type(limits[1])
    if not (low >= least and high <= most):  # written so that NaN is refused, too
        raise ValueError(
            f"{name} must lie in [{least:g}, {most:g}], got values from {low:g} to {high:g}"
        )


# ------------------------------------------------------------------------------ dispatch


class Cache(NamedTuple):
    """What a forward pass saves for its backward; opaque."""

    op: str
    engine: str
    y_shape: tuple[int, ...] | None  # None where y is a tuple of scalars (elbo)
    y_dtype: Any
    on_gpu: bool
    content: tuple[Any, ...]


@functools.cache
def find_kernel(engine: str, op: str, function: str) -> Callable[..., Any] | None:
    """The function of this name in the engine's kernels/<folder>/<op>.py, or None."""
    if engine not in KERNEL_FOLDER or (engine == "numba" and numba_problem()):
        return None
    module = f"scratchvae.kernels.{KERNEL_FOLDER[engine]}.{op}"
    if importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), function, None)


def release_memory() -> None:
    """Free the memory that kernels keep for reuse; called when a model is deleted."""
    if memory := sys.modules.get("scratchvae.kernels.cpu.runtime.memory"):
        memory.release()


def accelerated(
    shapes: Any = "",
    *,
    arguments: Callable[..., tuple[Any, ...]] | None = None,
    result: Callable[[Any], Any] | None = None,
) -> Any:
    """Let a kernel replace this function where the array's engine has one.

    The function is an op's forward, `<op>_forward(...)` returning `y, cache, ...`; its backward,
    `<op>_backward(dy, cache, ...)`; or another function of arrays, such as an optimizer's update.
    Overflow gives infinity and underflow 0 on every engine, whatever the caller's np.errstate.

    Parameters
    ----------
    shapes : str
        The arrays, a forward's first arguments: "x (N, I), w (O, I), b (O) or None". Axes of one
        name have one size; "..." is any further axes; "x (N, ...) in [0, 1]" limits the values.
    arguments : callable
        Receives the caller's arguments, checks what `shapes` does not cover, such as a stride,
        fills in defaults, and returns the arguments of the body and the kernels.
    result : callable
        Converts the first result of a forward to y, for kernels that do not know our types.
    """
    if callable(shapes):
        return accelerated()(shapes)

    def decorate(body: Any) -> Any:
        op, name = body.__module__.rpartition(".")[2], body.__name__
        if name.endswith("_forward"):
            given = arguments or body
            signature = inspect.signature(given)
            call = _forward(body, op, _arrays(shapes), arguments, signature, result, None)
            reference = _forward(body, op, _arrays(shapes), arguments, signature, result, "numpy")
            functools.update_wrapper(reference, body)
        else:
            given, reference = body, body
            call = _backward(body, op) if name.endswith("_backward") else _plain(body, op)
        functools.update_wrapper(call, body)
        call.reference = reference
        call.__wrapped__ = given  # help() shows the signature that callers see
        REGISTRY.setdefault(op, {})[name] = call
        return call

    return decorate


class _Array(NamedTuple):
    """One array of `shapes`."""

    name: str
    axes: tuple[str, ...]
    and_more: bool  # further axes
    optional: bool
    limits: tuple[float, float] | None

    def __str__(self) -> str:
        axes = [*self.axes, *["..."] * self.and_more]
        return f"({', '.join(axes)}{',' * (len(axes) == 1 and not self.and_more)})"


def _arrays(shapes: str) -> list[_Array]:
    found = re.finditer(r"(\w+) \((.*?)\)( or None)?(?: in \[(.*?), (.*?)\])?", shapes)
    arrays = []
    for name, axes, optional, low, high in (match.groups() for match in found):
        names = tuple(re.findall(r"\w+", axes))
        limits = (float(low), float(high)) if low else None
        arrays.append(_Array(name, names, "..." in axes, bool(optional), limits))
    return arrays


def _forward(
    body: Any,
    op: str,
    arrays: list[_Array],
    arguments: Any,
    signature: inspect.Signature,
    result: Any,
    forced: str | None,
) -> Any:
    name, most = body.__name__, len(signature.parameters)
    least = sum(p.default is p.empty for p in signature.parameters.values())

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            if kwargs or not least <= len(args) <= most:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                args = bound.args
            engine, given = _checked(arrays, args)
            if arguments is not None:
                given = arguments(*given)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
        engine = forced or engine
        with np.errstate(all="ignore"):
            y, content, *more = (find_kernel(engine, op, name) or body)(*given)
        if result is not None:
            return result(y), Cache(op, engine, None, None, False, content), *more
        on_gpu = type(y) is not np.ndarray and is_gpu_array(y)
        return y, Cache(op, engine, y.shape, y.dtype, on_gpu, content), *more

    return call


def _checked(arrays: list[_Array], args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """The engine of these arguments, and the arguments as its kernels expect them."""
    args, engine = list(args), ""
    sizes: dict[str, Any] = {}  # of the named axes, and the further ones under "..."
    for i, (array, a) in enumerate(zip(arrays, args, strict=False)):
        if a is None and array.optional:
            continue
        if type(a) is not np.ndarray:
            if not is_array(a):
                came = type(a).__name__
                raise TypeError(f"{array.name} must be a NumPy or CuPy array, got {came}")
            if isinstance(a, np.ndarray):  # Numba does not know subclasses such as np.memmap
                a = args[i] = a.view(np.ndarray)
        if a.dtype not in _FLOATS:
            expected = "float32 or float64 (or complex128)"
            raise TypeError(f"{array.name} must be {expected}, got {a.dtype}")
        if a.size == 0:
            raise ValueError(f"{array.name} is empty: its shape is {a.shape}")
        if not engine:
            first, engine = a, "cuda" if is_gpu_array(a) else _host_engine
        if a.dtype != first.dtype and {a.dtype, first.dtype} != _MIXED:
            given = zip(arrays, args, strict=False)
            came = ", ".join(f"{array.name} {a.dtype}" for array, a in given if a is not None)
            raise TypeError(f"all arrays must share one dtype, got {came}")
        if type(a) is not type(first):
            engine_of(*[a for _, a in zip(arrays, args, strict=False) if a is not None])
        if a.dtype.kind == "c":
            engine = "numpy"
        axes = len(array.axes)
        if a.ndim != axes and not (array.and_more and a.ndim > axes):
            raise ValueError(f"{array.name} must have axes {array}, got shape {a.shape}")
        for axis, size in zip(array.axes, a.shape, strict=False):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"{array.name} {array} must have {axis} = {sizes[axis]}, got shape {a.shape}"
                )
        if array.and_more and sizes.setdefault("...", a.shape[axes:]) != a.shape[axes:]:
            raise ValueError(
                f"{array.name} must have the shape of {arrays[0].name}, {first.shape}; "
                f"got {a.shape}"
            )
        if array.limits and engine != "cuda":
            _check_limits(array.name, a, array.limits)
    return engine, args


def _backward(body: Any, op: str) -> Any:
    name = body.__name__

    def call(dy: Any, cache: Cache, *args: Any, **kwargs: Any) -> Any:
        if type(cache) is not Cache or cache.op != op:
            came = f"one of {cache.op}" if isinstance(cache, Cache) else type(cache).__name__
            raise TypeError(f"{name}: expected the cache of {op}_forward, got {came}")
        if cache.y_shape is None:
            if type(dy) is not float:
                _check_number(name, dy)
        elif type(dy) is not np.ndarray or dy.shape != cache.y_shape or dy.dtype != cache.y_dtype:
            dy = _like_y(name, dy, cache)
        with np.errstate(all="ignore"):
            kernel = find_kernel(cache.engine, op, name) or body
            return kernel(dy, cache.content, *args, **kwargs)

    return call


def _check_number(name: str, dy: Any) -> None:
    if not isinstance(dy, int | float | complex | np.number) and not (
        is_array(dy) and dy.ndim == 0
    ):
        came = f"shape {dy.shape}" if is_array(dy) else type(dy).__name__
        raise ValueError(f"{name}: dtotal must be a number, got {came}")


def _like_y(name: str, dy: Any, cache: Cache) -> Any:
    """dy, an array like y on y's device; TypeError or ValueError if it is not."""
    if not is_array(dy):
        raise TypeError(
            f"{name}: dy must be a NumPy or CuPy array like y, {cache.y_dtype} of shape "
            f"{cache.y_shape}; got {type(dy).__name__}"
        )
    if dy.shape != cache.y_shape or dy.dtype != cache.y_dtype:
        raise ValueError(
            f"{name}: dy must be like y, {cache.y_dtype} of shape {cache.y_shape}; got {dy.dtype} "
            f"of shape {dy.shape}"
        )
    if is_gpu_array(dy) != cache.on_gpu:
        here, there = ("GPU", "CPU") if is_gpu_array(dy) else ("CPU", "GPU")
        raise TypeError(f"{name}: dy is on the {here}, y on the {there}")
    return dy.view(np.ndarray) if isinstance(dy, np.ndarray) else dy


def _plain(body: Any, op: str) -> Any:
    name = body.__name__

    def call(*args: Any, **kwargs: Any) -> Any:
        given, arrays = [], []
        for a in args:
            if isinstance(a, np.generic):  # NumPy's scalars have no device
                a = a.item()
            elif hasattr(a, "dtype"):
                if isinstance(a, np.ndarray) and type(a) is not np.ndarray:
                    a = a.view(np.ndarray)
                arrays.append(a)
            given.append(a)
        with np.errstate(all="ignore"):
            return (find_kernel(engine_of(*arrays), op, name) or body)(*given, **kwargs)

    return call
