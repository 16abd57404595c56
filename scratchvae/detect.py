"""Whether an engine can run here; if not, the reason in one sentence."""

from __future__ import annotations

import functools
import importlib
import os


def gpu_problem() -> str | None:
    """Why the GPU cannot be used, in one sentence; None if a test on it succeeds."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed: pip install -e '.[cuda13]' or '.[cuda12]' in the checkout"
    except Exception as error:  # a broken CUDA install fails in many ways
        return f"CuPy cannot be imported ({type(error).__name__}: {error})"
    if not cupy.cuda.is_available():
        return f"CuPy {cupy.__version__} is installed, but finds no CUDA device (check nvidia-smi)"
    try:
        ones = cupy.ones((2, 2), "float32")
        kernel = cupy.RawKernel('extern "C" __global__ void twice(float* x) { *x *= 2; }', "twice")
        product = ones @ ones
        kernel((1,), (1,), (product,))
        if float(product[0, 0]) != 4.0:
            return f"CuPy {cupy.__version__} is broken: 2 * (1 + 1) gives {float(product[0, 0])}"
    except Exception as error:  # driver, toolkit or memory
        return f"a GPU is visible, but a test kernel failed ({type(error).__name__}: {error})"
    return None


@functools.cache
def numba_problem() -> str | None:
    """Why Numba cannot be used, in one sentence; None if it compiles a function."""
    try:
        numba = importlib.import_module("numba")
    except ImportError as error:  # missing, or too old for this NumPy
        return f"Numba cannot be imported ({error}): try pip install -U numba"
    except Exception as error:
        return f"Numba cannot be imported ({type(error).__name__}: {error}){_settings()}"
    if numba.config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set, so the kernels cannot be compiled: unset it"
    try:
        importlib.import_module("scratchvae.kernels.cpu.runtime.threads").cores()
    except Exception as error:
        return f"Numba cannot compile ({type(error).__name__}: {error}){_settings()}"
    return None


def _settings() -> str:
    """The environment variables of Numba, for an error message."""
    found = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("NUMBA_")]
    return f"; the environment sets {', '.join(found)}: change or unset it" if found else ""
