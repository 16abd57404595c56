"""Numba kernels. A kernel module holds plain functions under the names of its op, which prepare
memory and call what `jit` below compiled.

Machine code is kept on disk where there is a place for it. The compiled functions of one file call
none of another: Numba's cache looks at the file of the function alone, and would miss a change
elsewhere. It misses a change of the flags below, too: touch the kernels' files then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

# Reassociation and contraction let LLVM use SIMD for sums; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

# Numba takes float32 and an int together as float64, at a quarter of the speed: write these.
ZERO, ONE = np.float32(0), np.float32(1)


def jit(function: Callable[..., Any]) -> Any:
    """Compile loops at the first call with each dtype. nogil: other Python threads run on."""
    return _cached(njit, nogil=True, fastmath=FASTMATH, error_model="numpy")(function)


def _cached(decorator: Any, *args: Any, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return decorator(*args, cache=True, **options)(function)
        except RuntimeError:  # "no locator available": read-only install, no writable home
            return decorator(*args, **options)(function)

    return decorate
