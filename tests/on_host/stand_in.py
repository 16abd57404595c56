"""Imports the stand-in for CuPy."""

import functools
import importlib
import sys
from pathlib import Path


@functools.cache
def modules():
    """The modules of tests/on_host/cupy by name, whether or not there is a real CuPy."""
    real = _taken_out()
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        importlib.import_module("cupy")
        return _taken_out()
    finally:
        sys.path.pop(0)
        sys.modules.update(real)


def _taken_out():
    names = [name for name in sys.modules if name.partition(".")[0] == "cupy"]
    return {name: sys.modules.pop(name) for name in names}
