"""CUDA C kernels and their launchers, one `<op>.cu` and one `<op>.py` per op.

A `.cu` file is written for a type T, float or double. NVRTC compiles it when it is first used, and
CuPy keeps the result on disk. Headers are pasted in here, as NVRTC looks for no files. Launchers
make arrays contiguous, allocate results and choose the number of blocks. Indices are ints: an array
of about 2^31 elements or more is refused.
"""

import functools
import math
import re
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter

import numpy as np

FOLDER = Path(__file__).parent
C_TYPE = {"float32": "float", "float64": "double"}
THREADS = 256  # in a block, unless a kernel says otherwise
BLOCKS = 264  # two for each multiprocessor of an H100: into so many parts a long sum is cut
LIMIT = 2**31 - 2**17  # a thread's index may be a whole grid beyond the end, and is an int still
INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)
KERNEL = re.compile(r"^KERNEL\s+(\w+)\s*\(", re.MULTILINE)


def source(name):
    """The text of a .cu file with its headers pasted in; a header includes none."""
    text = (FOLDER / f"{name}.cu").read_text()
    return INCLUDE.sub(lambda match: (FOLDER / match[1]).read_text(), text)


@functools.cache
def _files():
    """Kernel -> the name of the .cu file that defines it."""
    paths = FOLDER.glob("*.cu")
    return {kernel: path.stem for path in paths for kernel in KERNEL.findall(path.read_text())}


_seconds = 0.0


@functools.cache
def _function(kernel, dtype):
    start = perf_counter()
    module = _module(_files()[kernel], dtype)
    function = module.get_function(kernel)  # compiles the file, or finds it on disk
    _announce(perf_counter() - start)
    return function


def _announce(seconds):
    """Say once that kernels are being compiled, when a second of this process has gone into it."""
    global _seconds
    before, _seconds = _seconds, _seconds + seconds
    if before < 1 <= _seconds:
        print("scratchvae: compiling CUDA kernels, once: CuPy keeps them on disk", file=sys.stderr)


@functools.cache
def _module(file, dtype):
    options = ("--std=c++17", f"-DREAL={C_TYPE[dtype]}")
    return cupy().RawModule(code=source(file), options=options)


def cupy():
    """CuPy, imported when a kernel runs: `scratchvae kernels` lists them without it."""
    return import_module("cupy")


def launch(kernel, blocks, *arguments, threads=THREADS):
    """Run a kernel on the current stream; blocks: one number or up to three. T is the dtype of the
    first array of floats. Ints arrive as int, floats as T, None as a null pointer."""
    floats = (a.dtype for a in arguments if hasattr(a, "flags") and str(a.dtype) in C_TYPE)
    dtype = next(floats, np.dtype("float32"))
    grid = blocks if isinstance(blocks, tuple) else (blocks,)
    arguments = tuple(_argument(a, dtype) for a in arguments)
    _function(kernel, str(dtype))(grid, (threads,), arguments)


def _argument(a, dtype):
    if a is None:
        return np.uintp(0)
    if isinstance(a, int):
        return np.int32(a)
    if isinstance(a, float):
        return dtype.type(a)
    _check_size(a.shape)
    if not a.flags.c_contiguous:
        raise ValueError(f"a CUDA kernel takes row-major memory, got strides {a.strides}")
    return a


def blocks_for(count, threads=THREADS):
    """How many blocks have a thread for each of `count` elements."""
    return -(-count // threads)


def launch_each(kernel, count, *arguments):
    """Run a kernel that has a thread for each of `count` elements; `count` is its last argument."""
    launch(kernel, blocks_for(count), *arguments, count)


def elementwise(kernel, *arguments, shape=None):
    """A fresh array, each of whose elements a thread computes; of the first array's dtype and, by
    default, shape. The kernel gets the arguments, the fresh array, and how many elements it has."""
    arguments = [contiguous(a) if hasattr(a, "flags") else a for a in arguments]
    result = empty(arguments[0].shape if shape is None else shape, arguments[0].dtype)
    launch_each(kernel, result.size, *arguments, result)
    return result


def contiguous(a):
    """`a` in row-major memory, copied if it lies otherwise; ValueError if it is too large."""
    _check_size(a.shape)
    return a if a.flags.c_contiguous else cupy().ascontiguousarray(a)


def empty(shape, dtype):
    _check_size(shape)
    return cupy().empty(shape, dtype)


def empty_like(a):
    """Fresh row-major memory on the GPU for an array of this shape and dtype."""
    return empty(a.shape, a.dtype)


def on_device(number, dtype):
    """A number as an array of one on the GPU, where a graph may change it; such an array itself."""
    if isinstance(number, cupy().ndarray):
        return number
    return cupy().full((), np.array(number).astype(dtype).item(), dtype)


def _check_size(shape):
    size = math.prod(shape)
    if size >= LIMIT:
        raise ValueError(
            f"an array of shape {tuple(shape)} has {size:,} elements; CUDA kernels count them "
            f"in 32 bits and take fewer than {LIMIT:,}: use a smaller batch"
        )
