"""Plant a fault in the running program, and remove it again.

A fault is a change of the text of one module. The changed text is compiled, but never executed.
Instead the live functions, which stay the same objects, get the changed `__code__`. So the fault is
present wherever a function was imported or wrapped, without importing anything again.

Numba's functions run as machine code, which does not depend on `__code__`. A plain Python function
with the changed code replaces the compiled one, in its module and wherever it was imported: slow,
but the arrays of the tests are small. The compiled functions of these modules that call it are
replaced too, because their machine code contains the right one. A function that calls an intrinsic
cannot run as Python: in a module with intrinsics the functions are compiled again instead, without
a cache on disk. All of them are, if the fault is in the module that defines the intrinsics.

A CUDA kernel's fault changes a .cu file with its headers pasted in: g++ compiles this file alone,
and tests/on_host runs its kernels instead of the right ones.

Memory and `lru_cache` results from before are dropped when a fault is planted and when it is
removed, so that no old result hides the fault, and no wrong result remains.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from numba import jit
from numba.core.typing.templates import _IntrinsicTemplate
from numba.extending import _Intrinsic
from on_host import build

from scratchvae.backend import release_memory
from scratchvae.exercises.gallery import Fault
from scratchvae.kernels import cuda

CACHED = type(functools.lru_cache(lambda: None))


class Refused(Exception):
    """The fault cannot be planted in this form. The program is unchanged."""


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Plant the fault for the duration of a `with` block."""
    undo = []
    try:
        for apply, take_back in (_swaps_of_kernels if _is_cuda(fault) else _swaps)(fault):
            undo.append(take_back)
            apply()
        _forget()
        yield
    finally:
        for take_back in reversed(undo):
            take_back()
        _forget()


def _forget() -> None:
    """Drop the results in the program's caches, Numba's code for intrinsics, and the kernels' free
    memory."""
    for template in _IntrinsicTemplate.__subclasses__():
        if template._definition_func.__module__.startswith("scratchvae"):
            template._impl_cache.clear()
            template._overload_cache.clear()
    for kept in gc.get_objects():
        if type(kept) is CACHED and (kept.__module__ or "").startswith("scratchvae"):
            kept.cache_clear()
    release_memory()


def _is_cuda(fault: Fault) -> bool:
    return fault.module.endswith(".cu")


def _path(fault: Fault) -> str:
    return str(importlib.import_module(fault.module).__file__)


def right_text(fault: Fault) -> str:
    """The unchanged text; a .cu file has its headers pasted in."""
    if _is_cuda(fault):
        return cuda.source(Path(fault.module).stem)
    return Path(_path(fault)).read_text(encoding="utf-8")


def changed_text(fault: Fault) -> str:
    """The module's text with the mistake; each text to be replaced must occur exactly once."""
    text = right_text(fault)
    for before, after in fault.changes:
        if (count := text.count(before)) != 1:
            raise Refused(f"{fault.name}: {before!r} occurs {count} times in {fault.module}, not 1")
        text = text.replace(before, after)
    return text


def _swaps(fault: Fault) -> list[tuple[Callable[[], None], Callable[[], None]]]:
    """(apply, take back) for each live function; raises Refused before any change."""
    module, path, text = importlib.import_module(fault.module), _path(fault), right_text(fault)
    try:
        mistaken = compile(changed_text(fault), path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise Refused(f"{fault.name}: the changed text does not compile: {error}") from None
    right = compile(text, path, "exec", dont_inherit=True)
    pairs = [*_changed_functions(fault, right, mistaken)]
    if not pairs:
        raise Refused(f"{fault.name}: the code stays the same")

    compiled, swaps = _compiled_functions(module), []
    machine_code = {id(python) for python in compiled.values()}
    live = [
        f
        for f in gc.get_objects()
        if type(f) is FunctionType and f.__code__.co_filename == path and id(f) not in machine_code
    ]
    for outer in pairs:
        found = 0
        for before, after in _with_inner_functions(*outer):
            for name, python in compiled.items():
                if _same(python.__code__, before):
                    stand_in = _stand_in(module, python, after)
                    for other in _holders(module, name):
                        swaps.append(_global_swap(other, name, stand_in))
                        # Callers come first, because they may be changed themselves.
                        callers = _callers(other, _compiled_functions(other), name)
                        swaps[:0] = [_global_swap(other, *caller) for caller in callers]
                    found += before is outer[0]
            for function in live:
                if _same(function.__code__, before):
                    if len(function.__code__.co_freevars) != len(after.co_freevars):
                        raise Refused(f"{fault.name}: {after.co_qualname} closes over other names")
                    swaps.append(_code_swap(function, after))
                    found += before is outer[0]
        if not found:
            raise Refused(
                f"{fault.name}: no live function has the code of {outer[0].co_qualname} in {path}"
            )
    for user in _users(module):
        for name, python in _compiled_functions(user).items():
            swaps.append(_global_swap(user, name, _stand_in(user, python, python.__code__)))
    return swaps


def _swaps_of_kernels(fault: Fault) -> list[tuple[Callable[[], None], Callable[[], None]]]:
    """(apply, take back) for each dtype."""
    texts = {Path(fault.module).stem: changed_text(fault)}
    libraries = {dtype: _Library(dtype, texts) for dtype in cuda.C_TYPE}
    try:
        libraries["float64"].compiled  # noqa: B018 - refuses what is no program
    except RuntimeError as error:
        raise Refused(f"{fault.name}: {error}") from None
    return [
        (
            functools.partial(build.planted.__setitem__, dtype, library),
            functools.partial(build.planted.__delitem__, dtype),
        )
        for dtype, library in libraries.items()
    ]


class _Library:
    """Kernels that are compiled when one is needed: most faults are found with one dtype."""

    def __init__(self, dtype: str, texts: dict[str, str]) -> None:
        self._dtype, self._texts = dtype, texts

    @functools.cached_property
    def compiled(self) -> Any:
        return build.load(self._dtype, self._texts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.compiled, name)


def _code_swap(function: FunctionType, after: CodeType) -> Any:
    before = function.__code__
    return (
        functools.partial(setattr, function, "__code__", after),
        functools.partial(setattr, function, "__code__", before),
    )


def _global_swap(module: ModuleType, name: str, after: Any) -> Any:
    before = getattr(module, name)
    return (
        functools.partial(setattr, module, name, after),
        functools.partial(setattr, module, name, before),
    )


# ------------------------------------------------------------------------ what differs in the code


def _changed_functions(
    fault: Fault, right: CodeType, mistaken: CodeType
) -> Iterator[tuple[CodeType, CodeType]]:
    """Pairs of outermost functions that differ, below a module or the body of a class."""
    if _own(right) != _own(mistaken):
        raise Refused(
            f"{fault.name}: the change reaches {right.co_qualname} of {fault.module} itself: "
            "constants, defaults and signatures outside functions have already been executed"
        )
    for before, after in zip(_inner(right), _inner(mistaken), strict=True):
        if not before.co_flags & inspect.CO_OPTIMIZED:  # the body of a class
            yield from _changed_functions(fault, before, after)
        elif not _same(before, after):
            yield before, after


def _with_inner_functions(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The pair, and the inner functions that differ: closures made earlier are separate objects."""
    yield before, after
    inner_before, inner_after = _inner(before), _inner(after)
    if len(inner_before) == len(inner_after):
        for pair in zip(inner_before, inner_after, strict=True):
            if not _same(*pair):
                yield from _with_inner_functions(*pair)


def _inner(code: CodeType) -> list[CodeType]:
    return [c for c in code.co_consts if isinstance(c, CodeType)]


def _own(code: CodeType) -> tuple[Any, ...]:
    """What this code does, without line numbers and without its inner functions."""

    def constant(c: Any) -> Any:
        if isinstance(c, CodeType):
            return (
                "code",
                c.co_qualname,
                c.co_argcount,
                c.co_kwonlyargcount,
                c.co_varnames[: c.co_argcount + c.co_kwonlyargcount],
            )
        if type(c) is int and c == code.co_firstlineno:  # __firstlineno__ of a class, Python 3.13
            return "line"
        return sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c)

    return (
        code.co_qualname, code.co_code, code.co_names, code.co_varnames, code.co_freevars,
        code.co_cellvars, code.co_flags, [constant(c) for c in code.co_consts],
    )  # fmt: skip


def _same(a: CodeType, b: CodeType) -> bool:
    if _own(a) != _own(b):
        return False
    inner_a, inner_b = _inner(a), _inner(b)
    return len(inner_a) == len(inner_b) and all(map(_same, inner_a, inner_b))


# ------------------------------------------------------------------------------- Numba's functions


def _compiled_functions(module: ModuleType) -> dict[str, Any]:
    """Name -> the Python function that it was compiled from."""
    return {
        name: value.py_func
        for name, value in vars(module).items()
        if hasattr(value, "py_func") and value.py_func.__module__ == module.__name__
    }


def _holders(module: ModuleType, name: str) -> list[ModuleType]:
    """The module, and the modules that have imported this function from it."""
    function, ours = getattr(module, name), [*sys.modules.items()]
    return [m for key, m in ours if key.startswith("scratchvae") and vars(m).get(name) is function]


def _callers(module: ModuleType, compiled: dict[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    """Stand-ins for the other compiled functions that call this one."""
    for other, python in compiled.items():
        if other != name and name in python.__code__.co_names:
            yield other, _stand_in(module, python, python.__code__)


def _stand_in(module: ModuleType, python: Any, code: CodeType) -> Any:
    """A function with this code, in Python, or as machine code if it calls intrinsics."""
    copy = FunctionType(
        code, python.__globals__, python.__name__, python.__defaults__, python.__closure__
    )
    if not any(_intrinsics(module)):
        return copy
    return jit(**getattr(module, python.__name__).targetoptions)(copy)


def _intrinsics(module: ModuleType) -> Iterator[Any]:
    return (value for value in vars(module).values() if isinstance(value, _Intrinsic))


def _users(module: ModuleType) -> Iterator[ModuleType]:
    """The other modules whose compiled functions contain this module's intrinsics."""
    for name, other in [*sys.modules.items()]:
        ours = name.startswith("scratchvae") and other is not module
        if ours and any(i._defn.__module__ == module.__name__ for i in _intrinsics(other)):
            yield other
