"""The GPU resources that each CUDA kernel uses, as the compiler reports them. Needs no GPU.

    python benchmarks/registers.py             nvcc
    python benchmarks/registers.py --nvrtc     NVRTC, which scratchvae uses at run time

Each file of kernels/cuda is compiled for float and double and for each architecture. The number of
registers limits how many threads run at a time. Values that do not fit are spilled to slow memory,
and an array indexed by a variable is on a stack, which is memory too. So the exit status is 1 if a
kernel spills, has a stack that STACKS does not explain, or does not compile. Without a compiler the
program says so in one line and exits with 0.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from measure import parser

cuda = importlib.import_module("scratchvae.kernels.cuda")  # mypy does not see this package
ARCHITECTURES = ("sm_80", "sm_90")
STACKS: dict[str, str] = {}  # function -> why it may have a stack
STANDARD = "--std=c++17"

Compiler = Callable[[str, str, str], str]  # (file's name, text, float or double) -> the report


class Usage(NamedTuple):
    """Of one kernel: registers per thread; bytes of shared memory per block, of stack per thread,
    and bytes that a thread spills (stores and loads)."""

    registers: int
    shared: int
    stack: int
    spills: int


class DoesNotCompile(Exception):
    """The compiler's messages."""


def parse(report: str) -> tuple[dict[tuple[str, str], Usage], list[str]]:
    """(kernel, architecture) -> usage, and a list of problems. Functions that a kernel calls and
    that are not inlined have no registers of their own, but may spill."""
    usage, problems = {}, []
    kernel = architecture = function = ""
    stack = spills = 0
    for line in report.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line):
            kernel, architecture = match.groups()
        elif match := re.search(r"Function properties for (\w+)", line):
            function = match.group(1)
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) .* stores, (\d+) .* loads", line):
            stack, spills = int(match[1]), int(match[2]) + int(match[3])
            where = f"{function} for {architecture}"
            if spills:
                problems.append(f"{where} spills {spills} bytes")
            elif stack and function not in STACKS:
                problems.append(f"{where} has a stack of {stack} bytes")
        elif match := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            usage[kernel, architecture] = Usage(
                int(match[1]), int(shared[1]) if shared else 0, stack, spills
            )
    return usage, problems


# ------------------------------------------------------------------------------------ the compilers


def nvcc(folder: Path) -> tuple[str, Compiler] | None:
    """Its version and a function that compiles in this folder; None if there is no nvcc."""
    if not shutil.which("nvcc"):
        return None
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    pairs = [f"-gencode=arch=compute_{a[3:]},code={a}" for a in ARCHITECTURES]

    def compiler(name: str, text: str, T: str) -> str:
        source = folder / f"{name}_{T}.cu"
        source.write_text(text)
        command = ["nvcc", STANDARD, f"-DREAL={T}", "-fatbin", *pairs, "-Xptxas", "-v", "-o"]
        run = subprocess.run(
            [*command, str(source.with_suffix(".fatbin")), str(source)],
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise DoesNotCompile(run.stderr)
        return run.stderr

    return "nvcc " + (re.findall(r"V([\d.]+)", version) or ["?"])[0], compiler


def nvrtc_library() -> ctypes.CDLL | None:
    """The library of `pip install nvidia-cuda-nvrtc`, or the system's."""
    names = [str(file) for p in sys.path for file in Path(p).glob("nvidia/*/lib/libnvrtc.so*")]
    for name in (*names, "libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def nvrtc() -> tuple[str, Compiler] | None:
    """Its version and a function that compiles; None if there is no NVRTC."""
    library = nvrtc_library()
    if library is None:
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))

    def compile_for(architecture: str, name: str, text: str, T: str) -> str:
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        options = [f"-arch={architecture}", STANDARD, f"-DREAL={T}", "--ptxas-options=-v"]
        library.nvrtcCreateProgram(
            ctypes.byref(program), text.encode(), f"{name}.cu".encode(), 0, None, None
        )
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = library.nvrtcCompileProgram(program, len(options), array)
        library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        library.nvrtcGetProgramLog(program, log)
        library.nvrtcDestroyProgram(ctypes.byref(program))
        if failed:
            raise DoesNotCompile(log.value.decode())
        return log.value.decode()

    def compiler(name: str, text: str, T: str) -> str:
        return "\n".join(compile_for(a, name, text, T) for a in ARCHITECTURES)

    return f"NVRTC {major.value}.{minor.value}", compiler


# ------------------------------------------------------------------------------------- the table


def rows_of(name: str, dtype: str, compiler: Compiler) -> tuple[list[str], list[str]]:
    """A row for each kernel of this file, in the file's order, and a list of problems."""
    text, T = cuda.source(name), cuda.C_TYPE[dtype]
    try:
        usage, problems = parse(compiler(name, text, T))
    except DoesNotCompile as error:
        return [], [f"{name}.cu, {T}: does not compile\n{str(error)[:4000]}"]
    words = re.findall(r"\w+", text)  # kernels made by a macro are not in the text: they come last
    kernels = sorted({kernel for kernel, _ in usage}, key=lambda k: ([*words, k].index(k), k))
    expected = len(re.findall(r"^KERNEL\b", text, re.MULTILINE))
    if len(usage) < max(expected, 1) * len(ARCHITECTURES):
        problems.append(f"{expected} kernels, but the report has {', '.join(kernels) or 'none'}")
    rows = []
    for kernel in kernels:
        cells = [f"{name}.cu", kernel, T]
        for architecture in ARCHITECTURES:
            u = usage.get((kernel, architecture))
            cells += [f"{u.registers}", f"{u.shared:,}", f"{u.spills}"] if u else ["?"] * 3
        rows.append(f"| {' | '.join(cells)} |")
    return rows, [f"{name}.cu, {T}: {problem}" for problem in problems]


def table(version: str, compiler: Compiler) -> list[str]:
    """Print the table and return a list of problems."""
    jobs = [(p.stem, t) for p in sorted(cuda.FOLDER.glob("*.cu")) for t in cuda.C_TYPE]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: rows_of(job[0], job[1], compiler), jobs))
    heads = [f"{a} {what}" for a in ARCHITECTURES for what in ("registers", "shared", "spills")]
    print(f"{version}; registers of a thread, bytes of shared memory of a block, bytes spilled\n")
    print(f"| file | kernel | T | {' | '.join(heads)} |")
    print("|---|---|---|" + "---:|" * len(heads))
    rows = [row for some, _ in results for row in some]
    print("\n".join(rows))
    files = len({name for name, _ in jobs})
    print(f"\n{len(rows)} kernels compiled, from {files} files, for {' and '.join(ARCHITECTURES)}")
    return [problem for _, some in results for problem in some] if jobs else ["no *.cu there"]


def main(arguments: list[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--nvrtc", action="store_true", help="compile with NVRTC, not nvcc")
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = nvrtc() if given.nvrtc else nvcc(Path(folder))
        if found is None:
            install = "NVRTC (pip install nvidia-cuda-nvrtc)" if given.nvrtc else "nvcc"
            print(f"no {install} here: the CUDA kernels are not compiled")
            return 0
        problems = table(*found)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
