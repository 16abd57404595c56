"""Numba kernels. A kernel module holds plain functions under the names of its op, which prepare
memory and call loops compiled with `jit` below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# Reassociation and contraction let LLVM use SIMD for sums; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}


def jit(function: Callable[..., Any]) -> Any:
    """Compile at the first call, and keep the machine code on disk where there is a place for it.

    nogil: other Python threads run on. The loops of one file call no loops of another: Numba's
    cache looks at the file of the function alone, and would miss a change elsewhere.
    """
    try:
        return njit(cache=True, nogil=True, fastmath=FASTMATH, error_model="numpy")(function)
    except RuntimeError:  # "no locator available": a read-only install without a writable home
        return njit(nogil=True, fastmath=FASTMATH, error_model="numpy")(function)
