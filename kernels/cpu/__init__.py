"""Numba kernels: plain functions, named as in the op, that allocate memory and call compiled loops.

Machine code is compiled at the first call and kept on disk where possible. A change in any file of
this folder invalidates it; Numba itself checks only the function's own file.
"""

from __future__ import annotations

import ctypes
import threading
from _thread import start_new_thread
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit, types
from numba.core.ccallback import CFunc

from .runtime.cache import Cache

# Reassociation and contraction let LLVM use SIMD for sums; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

INT, POINTER, VOID = types.int64, types.CPointer(types.int64), types.void
C_TYPES = {INT: ctypes.c_int64, POINTER: ctypes.c_void_p, VOID: None}

# Numba computes float32 with an int in float64, at a quarter of the speed: use these constants.
ZERO, ONE = np.float32(0), np.float32(1)


def jit(function: Callable[..., Any]) -> Any:
    """Compile loops at the first call with each dtype. nogil: other Python threads keep running."""
    compiled = njit(nogil=True, fastmath=FASTMATH, error_model="numpy")(function)
    compiled._cache = Cache(function, _sources())
    compiled._compile_for_args = partial(_uninterrupted, compiled._compile_for_args)
    return compiled


def c_function(signature: Any, lets_others_run: bool = False) -> Any:
    """Compile a function of int64 and int64 pointers now, for ctypes (atomic.py). Without
    `lets_others_run` it holds the interpreter lock: it is atomic for other Python threads too."""

    def compiled(function: Callable[..., Any]) -> Any:
        code = CFunc(function, (signature.args, signature.return_type), {}, {})
        code._cache = Cache(function, _sources())
        code.compile()  # not on another thread: that would wait for the import to end
        prototype = ctypes.CFUNCTYPE if lets_others_run else ctypes.PYFUNCTYPE
        call: Any = prototype(*map(C_TYPES.get, (signature.return_type, *signature.args)))
        call = call(code.address)
        call.code = code  # keeps the machine code alive
        return call

    return compiled


def _uninterrupted(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call it on another thread, out of reach of Ctrl-C, which interrupts only the wait for it: an
    interrupt in Numba leaves its lock taken, one in LLVM's memory management ends the process."""
    if threading.current_thread() is not threading.main_thread():
        return function(*args, **kwargs)
    results: list[Any] = []
    errors: list[BaseException] = []
    end = threading.Lock()
    end.acquire()

    def work() -> None:
        try:
            results.append(function(*args, **kwargs))
        except BaseException as error:
            errors.append(error)
        finally:
            end.release()

    start_new_thread(work, ())
    end.acquire()
    if errors:
        raise errors[0]
    return results[0]


_stamp = ""


def _sources() -> str:
    """A fingerprint of all files in this folder."""
    global _stamp
    if not _stamp:
        files = sorted(Path(__file__).parent.rglob("*.py"))
        _stamp = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return _stamp
