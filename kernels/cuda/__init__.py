"""CUDA C kernels and their launchers, one `<op>.cu` and one `<op>.py` per op.

A `.cu` file is written for a type T, float or double. NVRTC compiles it when it is first used, and
CuPy keeps the result on disk. Headers are pasted into the text, because NVRTC opens no files.
Launchers make arrays contiguous, allocate results and choose the number of blocks. Indices are
ints, so arrays of about 2^31 elements or more raise a ValueError.
"""

import functools
import math
import re
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from time import perf_counter

import numpy as np

FOLDER = Path(__file__).parent
C_TYPE = {"float32": "float", "float64": "double"}
THREADS = 256  # per block, unless a launcher passes another number
BLOCKS = 264  # two per multiprocessor of an H100: a long sum is cut into that many parts
LIMIT = 2**31 - 2**17  # so that an index up to a whole grid beyond the end is still an int
INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)
KERNEL = re.compile(r"^KERNEL\s+(\w+)\s*\(", re.MULTILINE)


def source(name):
    """The text of a .cu file with its headers pasted in; headers include no others."""
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
    function = module.get_function(kernel)  # compiles the file, or loads it from disk
    _announce(perf_counter() - start)
    return function


def _announce(seconds):
    """Print once that kernels are being compiled, after one second of compiling in this process."""
    global _seconds
    before, _seconds = _seconds, _seconds + seconds
    if before < 1 <= _seconds:
        with suppress(OSError):  # a full disk
            print(
                "scratchvae: compiling CUDA kernels, once: CuPy keeps them on disk", file=sys.stderr
            )


@functools.cache
def _module(file, dtype):
    options = ("--std=c++17", f"-DREAL={C_TYPE[dtype]}")
    return cupy().RawModule(code=source(file), options=options)


def cupy():
    """CuPy, imported when a kernel runs, because `scratchvae kernels` lists them without CuPy."""
    return import_module("cupy")


def launch(kernel, blocks, *arguments, threads=THREADS):
    """Run a kernel on the current stream; blocks: one number or up to three. T is the dtype of the
    first float array. Ints are passed as int, floats as T, None as a null pointer."""
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
        raise ValueError(f"a CUDA kernel needs row-major memory, got strides {a.strides}")
    return a


def blocks_for(count, threads=THREADS):
    """The number of blocks that gives each of `count` elements a thread."""
    return -(-count // threads)


def launch_each(kernel, count, *arguments):
    """Run a kernel that has a thread for each of `count` elements; `count` is its last argument."""
    launch(kernel, blocks_for(count), *arguments, count)


def elementwise(kernel, *arguments, shape=None):
    """A new array with the first array's dtype and, by default, shape; one thread computes each
    element. The kernel gets the arguments, the new array, and its number of elements."""
    arguments = [contiguous(a) if hasattr(a, "flags") else a for a in arguments]
    result = empty(arguments[0].shape if shape is None else shape, arguments[0].dtype)
    launch_each(kernel, result.size, *arguments, result)
    return result


def contiguous(a):
    """`a` in row-major memory, copied if its order differs; ValueError if it is too large."""
    _check_size(a.shape)
    return a if a.flags.c_contiguous else cupy().ascontiguousarray(a)


def empty(shape, dtype):
    _check_size(shape)
    return cupy().empty(shape, dtype)


def empty_like(a):
    """A new row-major array on the GPU with this shape and dtype, not initialised."""
    return empty(a.shape, a.dtype)


def on_device(number, dtype):
    """A number as a 0-d array on the GPU, whose value a graph may change; an array is returned."""
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
