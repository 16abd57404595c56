"""Compiles kernels/cuda/*.cu with g++ and calls the kernels: same source, same launch geometry.

All files go into one library per dtype, each in a namespace of its own. SCRATCHVAE_HOST_FLAGS adds
flags of g++ (tests/on_host/README.md says which are worth it).
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from scratchvae.kernels import cuda

HERE = Path(__file__).parent
KERNEL = re.compile(r"^KERNEL\s+(\w+)\s*\(", re.MULTILINE)
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fno-strict-aliasing", "-w")
LETTERS = {np.dtype(name): letter for name, letter in zip(
    ("float32", "float64", "int32", "uint32", "int64", "uint64", "bool", "uint8"), "fdiuqQbB",
    strict=True,
)}  # fmt: skip
backwards = False  # run the threads of a block in descending order


def files():
    """The names of all .cu files."""
    return sorted(path.stem for path in cuda.FOLDER.glob("*.cu"))


def translation_unit(dtype, edit=lambda name, text: text):
    """C++ for all kernels of this dtype; `edit` may change a file's text (tests plant faults)."""
    parts = ['#include "cuda_on_host.h"']
    for name in files():
        text = edit(name, cuda.source(name))
        exports = "\n".join(f"EXPORT({name}, {kernel})" for kernel in KERNEL.findall(text))
        parts += [
            f'#undef SHARED_SECTION\n#define SHARED_SECTION "shared_{name}"',
            f"namespace file_{name} {{\n{text}\n{exports}\n}}",
        ]
    return "\n".join(parts)


def compile_library(text, dtype):
    """The path of the shared library, compiled unless it lies there from an earlier run."""
    flags = (
        *FLAGS,
        f"-DREAL={cuda.C_TYPE[dtype]}",
        *os.environ.get("SCRATCHVAE_HOST_FLAGS", "").split(),
    )
    headers = (HERE / "cuda_on_host.h").read_text()
    key = hashlib.sha256("\0".join((text, headers, *flags)).encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"scratchvae-cuda-on-host-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        source, fresh = folder / f"{key}.{os.getpid()}.cpp", folder / f"{key}.{os.getpid()}.so"
        source.write_text(text)
        run = subprocess.run(
            ["g++", *flags, f"-I{HERE}", str(source), "-o", str(fresh)],
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(f"g++ does not compile the kernels:\n{run.stderr[:4000]}")
        source.unlink()
        fresh.rename(library)
    return library


@functools.cache
def _library(dtype):
    return ctypes.PyDLL(str(compile_library(translation_unit(dtype), dtype)))


@functools.cache
def _kernel(library, name):
    """The kernel's launcher and the letters of its parameters."""
    launcher, parameters = (
        getattr(library, f"launch_{name}"),
        getattr(library, f"parameters_{name}"),
    )
    launcher.restype = parameters.restype = ctypes.c_char_p
    return launcher, parameters().decode().split()


planted = {}  # dtype -> library: faults to run instead of the kernels as they are


def launch(dtype, name, grid, block, arguments):
    """Run a kernel. Arguments are NumPy arrays (of the stand-in's memory), NumPy scalars, or None
    for a null pointer; their dtypes must be those of the parameters, which no GPU would check."""
    launcher, letters = _kernel(planted.get(dtype) or _library(dtype), name)
    _check_geometry(name, grid, block)
    if len(arguments) != len(letters):
        raise TypeError(f"{name}: {len(letters)} parameters, {len(arguments)} arguments")
    pointers = []
    for i, (argument, letter) in enumerate(zip(arguments, letters, strict=True)):
        if argument is None or isinstance(argument, np.ndarray):
            came = letter if argument is None else "P" + LETTERS[argument.dtype]
            value = ctypes.c_void_p(None if argument is None else argument.ctypes.data)
        else:
            came = LETTERS[argument.dtype]
            value = np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())
        if came != letter:
            raise TypeError(f"{name}: parameter {i} is {letter}, the argument {came}")
        pointers.append(ctypes.cast(ctypes.pointer(value), ctypes.c_void_p))
    problem = launcher(
        (ctypes.c_uint * 3)(*grid, *(1,) * (3 - len(grid))),
        (ctypes.c_uint * 3)(*block, *(1,) * (3 - len(block))),
        (ctypes.c_void_p * len(pointers))(*pointers),
        int(backwards),
    )
    if problem:
        raise RuntimeError(f"{name}: {problem.decode()}")


def _check_geometry(name, grid, block):
    """The limits of every GPU since compute capability 3.0."""
    sizes = [(*block, 1, 1)[:3], (*grid, 1, 1)[:3]]
    for what, size, limits in zip(
        ("block", "grid"), sizes, ((1024, 1024, 64), (2**31 - 1, 65535, 65535)), strict=True
    ):
        if not all(1 <= n <= limit for n, limit in zip(size, limits, strict=True)):
            raise ValueError(f"{name}: {what} {size} is out of bounds")
    if np.prod(sizes[0]) > 1024 or np.prod(sizes[0]) % 32:
        raise ValueError(f"{name}: a block of {sizes[0]} is no whole number of warps up to 1024")


def problem():
    """Why kernels cannot run here, or None."""
    return None if shutil.which("g++") else "no g++ to compile the CUDA kernels with"
