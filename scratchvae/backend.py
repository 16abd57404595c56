"""Which engine serves an array: numpy, numba or cuda.

An op's body is written once, against `xp` (NumPy or CuPy). `@accelerated` says: if the array's
engine has a function of the same name in `kernels/<cpu|cuda>/<op>.py`, call that one instead. The
body stays at hand as `.reference`, and the tests hold every kernel equal to it.

    arguments     checked and normalised once, before any engine sees them
    forward       the array type picks cuda; `use` picks numpy or numba for arrays of the host
    backward      follows the engine that made its cache, whatever `use` has said since
    complex128    always the reference body: complex-step differentiation goes through it
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from .detect import gpu_problem, numba_problem

ENGINES = ("numpy", "numba", "cuda")
KERNEL_ROOM = {"numba": "cpu", "cuda": "cuda"}  # numpy runs the bodies: it needs no kernels

# op -> its accelerated functions by name, in the order of definition
REGISTRY: dict[str, dict[str, Callable[..., Any]]] = {}

_engine = "numpy"  # until use() is called, ops run as they are written
_host_engine = "numpy"
_announced = False


class Cache(NamedTuple):
    """What a forward pass leaves for its backward. Opaque: hand it on, unchanged."""

    op: str
    engine: str
    y_shape: tuple[int, ...] | None  # None where y is a tuple of scalars (elbo)
    y_dtype: Any
    on_gpu: bool
    content: tuple[Any, ...]


# ---------------------------------------------------------------------- choosing an engine


def use(engine: str = "auto", *, tf32: bool = False) -> str:
    """Choose the engine.

    Parameters
    ----------
    engine : {"auto", "numpy", "numba", "cuda"}
        "numpy" runs the op bodies, "numba" the CPU kernels where there are any, "cuda" (alias
        "cupy") keeps models and batches on the GPU. "auto" takes cuda where a GPU works, else
        numba, and says once what it chose and why.
    tf32 : bool
        On the GPU: let the matrix products of linear layers round float32 factors to 10 bits, for
        the tensor cores. The other engines, and convolutions, know no such thing.

    Returns
    -------
    str
        The engine chosen.

    Raises
    ------
    ValueError
        For an unknown name.
    RuntimeError
        If the engine asked for by name cannot run here; the message says what to install.
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
    _engine = engine
    if engine != "cuda":
        _host_engine = engine
    _allow_tf32(tf32 and engine == "cuda")
    return engine


def choose_quietly() -> None:
    """From now on `use("auto")` does not say what it chose."""
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
        engine, why = "cuda", f"a GPU answers; TF32 {'on' if tf32 else 'off'}"
    elif numba_problem() is None:
        engine, why = "numba", f"no GPU: {problem}"
    else:
        engine, why = "numpy", f"no GPU: {problem}; {numba_problem()}"
    if not _announced:
        print(f"scratchvae: engine {engine} ({why})", file=sys.stderr)
        _announced = True
    return engine


@contextmanager
def using(engine: str, *, tf32: bool = False) -> Iterator[str]:
    """`use(engine)` for the length of a `with` block. The choice holds for the whole process: two
    threads must not have such blocks at the same time."""
    global _engine, _host_engine
    before, tf32_before = (_engine, _host_engine), tf32_allowed()
    try:
        yield use(engine, tf32=tf32)
    finally:
        _engine, _host_engine = before
        _allow_tf32(tf32_before)


def current_engine() -> str:
    """The engine chosen with `use`."""
    return _engine


# ------------------------------------------------------------------------------ where arrays live


def is_gpu_array(a: Any) -> bool:
    """Whether `a` is a CuPy array (asked without importing CuPy)."""
    return type(a) is not np.ndarray and type(a).__module__.partition(".")[0] == "cupy"


def is_array(a: Any) -> bool:
    """Whether `a` is an array of NumPy or CuPy, and no np.matrix, whose products are others, nor a
    masked array, whose mask a kernel would drop."""
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
    """`a` as a NumPy array, copied from the GPU if it lives there."""
    return a.get() if is_gpu_array(a) else np.asarray(a)


def device_of(a: Any) -> str:
    """Where array `a` lives: "cuda" or "cpu"."""
    return "cuda" if is_gpu_array(a) else "cpu"


def to_device(a: Any, device: str) -> Any:
    """`a` on the device "cuda" or "cpu"; itself, if it is there."""
    return importlib.import_module("cupy").asarray(a) if device == "cuda" else asnumpy(a)


def engine_of(*arrays: Any) -> str:
    """The engine that serves these arrays; TypeError if some are on the GPU and some are not."""
    on_gpu = {is_gpu_array(a) for a in arrays}
    if len(on_gpu) > 1:
        where = ", ".join("GPU" if is_gpu_array(a) else "CPU" for a in arrays)
        raise TypeError(f"arrays live on different devices ({where}): move them with sv.asarray")
    if any(a.dtype.kind == "c" for a in arrays):
        return "numpy"
    return "cuda" if on_gpu == {True} else _host_engine


# ------------------------------------------------------------------------------ dispatch


@functools.cache
def find_kernel(engine: str, op: str, function: str) -> Callable[..., Any] | None:
    """The function of this name in the engine's kernels/<room>/<op>.py, or None."""
    if engine not in KERNEL_ROOM or (engine == "numba" and numba_problem()):
        return None
    module = f"scratchvae.kernels.{KERNEL_ROOM[engine]}.{op}"
    if importlib.util.find_spec(module) is None:
        return None
    return getattr(importlib.import_module(module), function, None)


def release_memory() -> None:
    """Give back to the system what the kernels keep for the next results. Dying models call it."""
    if memory := sys.modules.get("scratchvae.kernels.cpu.runtime.memory"):
        memory.release()


def accelerated(
    body: Any = None,
    *,
    arguments: Callable[..., tuple[Any, ...]] | None = None,
    result: Callable[[Any], Any] | None = None,
) -> Any:
    """Let a kernel stand in for this function where the array's engine has one.

    Parameters
    ----------
    body : callable
        `<op>_forward(...)` returning `y, cache, ...`; `<op>_backward(dy, cache, ...)`; or any
        other function of arrays, such as an optimizer's update. It becomes `.reference`.
    arguments : callable
        Takes what the caller gives and returns what the body and the kernels receive: defaults
        filled in, ints made pairs. What it raises is passed on with the function's name in front.
    result : callable
        Makes y of what a forward pass returns first, for kernels that know no types of ours.
    """
    if body is None:
        return functools.partial(accelerated, arguments=arguments, result=result)
    op = body.__module__.rpartition(".")[2]
    if body.__name__.endswith("_forward"):
        call, reference = _forward(body, op, arguments, result)
    elif body.__name__.endswith("_backward"):
        call, reference = _backward(body, op), body
    else:
        call, reference = _plain(body, op), body
    functools.update_wrapper(call, body)
    call.reference = reference
    if arguments is not None:
        call.__wrapped__ = arguments  # help() shows the signature that callers see
    REGISTRY.setdefault(op, {})[body.__name__] = call
    return call


def _forward(body: Any, op: str, arguments: Any, result: Any) -> tuple[Any, Any]:
    def run(engine: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            args = arguments(*args, **kwargs)
            engine = engine or engine_of(*(a for a in args if hasattr(a, "dtype")))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{body.__name__}: {error}") from None
        y, content, *more = _run(engine, op, body, map(_plain_array, args))
        y = y if result is None else result(y)
        shape, dtype = getattr(y, "shape", None), getattr(y, "dtype", None)
        return y, Cache(op, engine, shape, dtype, is_gpu_array(y), content), *more

    def call(*args: Any, **kwargs: Any) -> Any:
        return run(None, args, kwargs)

    def reference(*args: Any, **kwargs: Any) -> Any:
        return run("numpy", args, kwargs)

    return call, functools.update_wrapper(reference, body)


def _backward(body: Any, op: str) -> Any:
    def call(dy: Any, cache: Cache, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(cache, Cache) or cache.op != op:
            came = f"one of {cache.op}" if isinstance(cache, Cache) else type(cache).__name__
            raise TypeError(f"{body.__name__}: expected the cache of {op}_forward, got {came}")
        if cache.y_shape is None:
            _check_number(body.__name__, dy)
        else:
            _check_dy(body.__name__, dy, cache)
        return _run(cache.engine, op, body, (_plain_array(dy), cache.content, *args), kwargs)

    return call


def _check_number(name: str, dy: Any) -> None:
    if not isinstance(dy, int | float | complex | np.number) and not (
        is_array(dy) and dy.ndim == 0
    ):
        came = f"shape {dy.shape}" if is_array(dy) else type(dy).__name__
        raise ValueError(f"{name}: dtotal must be a number, got {came}")


def _check_dy(name: str, dy: Any, cache: Cache) -> None:
    """dy is an array like y, where y is."""
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
        raise TypeError(f"{name}: dy lives on the {here}, y on the {there}")


def _plain(body: Any, op: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        # a number of NumPy's, such as a learning rate from np.cos, lives on no device
        args = tuple(a.item() if isinstance(a, np.generic) else a for a in args)
        engine = engine_of(*(a for a in args if hasattr(a, "dtype")))
        return _run(engine, op, body, map(_plain_array, args), kwargs)

    return call


def _run(
    engine: str, op: str, body: Any, args: Iterable[Any], kwargs: dict[str, Any] | None = None
) -> Any:
    """The engine's function of this name, or the body. What overflows is infinite and what vanishes
    is 0 on every engine: np.errstate(all="raise") of the caller would reach only some of them."""
    with np.errstate(all="ignore"):
        return (find_kernel(engine, op, body.__name__) or body)(*args, **kwargs or {})


def _plain_array(a: Any) -> Any:
    """A subclass of NumPy's array, such as np.memmap, as what it inherits from: Numba knows no
    other."""
    return a.view(np.ndarray) if isinstance(a, np.ndarray) and type(a) is not np.ndarray else a
