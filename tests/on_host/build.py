"""Compiles kernels/cuda/*.cu with g++ and runs the kernels: same source, same launch geometry.

All files are compiled into one library per dtype, each in its own namespace. In the mode "races"
every memory access is watched (races.cpp). SCRATCHVAE_HOST_MODE sets the mode;
SCRATCHVAE_HOST_FLAGS adds flags for g++ (README.md).
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
KERNEL = cuda.KERNEL
FLAGS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-fno-strict-aliasing",
    "-fno-threadsafe-statics",
    "-Werror=overflow",  # in constants: nvcc rejects it, but g++ would make it 0 or infinite
)
WATCHED = ("-DRACES", "-g1", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0")
LETTERS = {np.dtype(name): letter for name, letter in zip(
    ("float32", "float64", "int32", "uint32", "int64", "uint64", "bool", "uint8"), "fdiuqQbB",
    strict=True,
)}  # fmt: skip
mode = os.environ.get("SCRATCHVAE_HOST_MODE", "plain")  # or "races"
backwards = False  # run the threads of a block in descending order


def files():
    """The names of all .cu files."""
    return sorted(path.stem for path in cuda.FOLDER.glob("*.cu"))


def translation_unit(texts=None):
    """C++ for the kernels of these texts, name -> CUDA C; by default of all .cu files."""
    parts = ['#include "cuda_on_host.h"']
    for name, text in (texts or {name: cuda.source(name) for name in files()}).items():
        exports = "\n".join(f"EXPORT({name}, {kernel})" for kernel in KERNEL.findall(text))
        parts += [
            f'#undef SHARED_SECTION\n#define SHARED_SECTION "shared_{name}"',
            f"namespace file_{name} {{\n{text}\n{exports}\n}}",
        ]
    return "\n".join(parts)


def compile_library(text, dtype):
    """The path of the shared library; its source is in the same folder."""
    flags = [*FLAGS, f"-I{HERE}", f"-DREAL={cuda.C_TYPE[dtype]}"]
    if mode == "races":
        # linked without -fsanitize=thread: races.cpp replaces the sanitizer
        kernels = _compiled(text, "o", *flags, *WATCHED, "-c")
        watcher = _compiled((HERE / "races.cpp").read_text(), "o", *FLAGS, "-O2", f"-I{HERE}", "-c")
        return _compiled(text, "so", *flags, "-shared", objects=(str(kernels), str(watcher)))
    extra = os.environ.get("SCRATCHVAE_HOST_FLAGS", "").split()
    return _compiled(text, "so", *flags, *extra, "-shared")


def _compiled(text, kind, *flags, objects=()):
    """Compile a text, or link objects, with g++, unless an earlier run has done so."""
    headers = [path.read_text() for path in sorted(HERE.glob("*.h"))]
    key = hashlib.sha256("\0".join((text, *headers, *flags, *objects)).encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"scratchvae-cuda-on-host-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    source, result = folder / f"{key}.cpp", folder / f"{key}.{kind}"
    if not result.exists():
        with tempfile.TemporaryDirectory(
            dir=folder
        ) as room:  # other processes may compile the same text
            made = Path(room) / "unit.cpp", Path(room) / "result"
            made[0].write_text(text)
            command = ["g++", *flags, *(objects or [str(made[0])]), "-o", str(made[1])]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                raise RuntimeError(f"g++ does not compile the kernels:\n{run.stderr[:4000]}")
            made[0].rename(source)
            made[1].rename(result)
    return result


def load(dtype, texts=None):
    """The library for these texts, or for all .cu files, in the current mode."""
    return ctypes.PyDLL(str(compile_library(translation_unit(texts), dtype)))


@functools.cache
def _library(dtype, mode):
    return load(dtype)


@functools.cache
def _kernel(library, name):
    """The kernel's launcher and the letters of its parameters."""
    launcher, parameters = (
        getattr(library, f"launch_{name}"),
        getattr(library, f"parameters_{name}"),
    )
    launcher.restype = parameters.restype = ctypes.c_char_p
    return launcher, parameters().decode().split()


planted = {}  # dtype -> library: its kernels run instead of those of the same name


def launch(dtype, name, grid, block, arguments):
    """Run a kernel. Arguments are NumPy arrays (of the stand-in's memory), NumPy scalars, or None
    for a null pointer. Their dtypes must be those of the parameters; a GPU would not check it."""
    library = planted.get(dtype)
    if not hasattr(library, f"launch_{name}"):
        library = _library(dtype, mode)
    launcher, letters = _kernel(library, name)
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
    if mode == "races":
        _tell_arrays(library, arguments)
    problem = launcher(
        (ctypes.c_uint * 3)(*grid, *(1,) * (3 - len(grid))),
        (ctypes.c_uint * 3)(*block, *(1,) * (3 - len(block))),
        (ctypes.c_void_p * len(pointers))(*pointers),
        int(backwards),
    )
    if problem:
        raise RuntimeError(f"{name}: {_with_source(problem.decode(), library._name)}")


def _tell_arrays(library, arguments):
    library.races_start()
    for a in arguments:
        array = a if isinstance(a, np.ndarray) else np.empty(0)
        start = array.ctypes.data if array.size else None
        library.races_array(
            ctypes.c_void_p(start), ctypes.c_size_t(array.nbytes), ctypes.c_size_t(array.itemsize)
        )


def _with_source(problem, library):
    """The message with source text in place of @L12, a line, and @0x12, an address."""
    lines = Path(library).with_suffix(".cpp").read_text().splitlines()

    def text(match):
        number = match[1]
        if match[0].startswith("@0x"):
            command = ["addr2line", "-e", library, match[0][1:]]
            number = subprocess.run(command, capture_output=True, text=True).stdout
            number = re.search(r":(\d+)", number)[1] if "unit.cpp:" in number else ""
        return f"`{lines[int(number) - 1].strip()}`" if number else match[0]

    return re.sub(r"@(?:L(\d+)|0x[0-9a-f]+)", text, problem)


def _check_geometry(name, grid, block):
    """The limits of every GPU since compute capability 3.0."""
    sizes = [(*block, 1, 1)[:3], (*grid, 1, 1)[:3]]
    for what, size, limits in zip(
        ("block", "grid"), sizes, ((1024, 1024, 64), (2**31 - 1, 65535, 65535)), strict=True
    ):
        if not all(1 <= n <= limit for n, limit in zip(size, limits, strict=True)):
            raise ValueError(f"{name}: {what} {size} is out of bounds")
    if np.prod(sizes[0]) > 1024 or np.prod(sizes[0]) % 32:
        raise ValueError(f"{name}: a block of {sizes[0]} is not a whole number of warps up to 1024")


def problem():
    """Why kernels cannot run here, or None."""
    return None if shutil.which("g++") else "no g++ to compile the CUDA kernels with"
