"""The limits of a launch: geometry, types, shared memory; and the checkers run every kernel."""

import re
import subprocess
from collections import Counter

import numpy as np
import pytest
from on_host import build
from on_host.runs import NAMES, runs

import scratchvae as sv
from scratchvae.kernels import cuda

X = np.zeros(64, "float32")
TEXT = """using T = REAL;
#define KERNEL extern "C" __global__ void
KERNEL fill(T* x, int count) { if (threadIdx.x < count) x[threadIdx.x] = 1; }
KERNEL large(T* x) {
  __shared__ T room[64 * 192 + 1];
  room[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = room[31 - threadIdx.x];
}
"""


@pytest.fixture
def fill(monkeypatch):
    if problem := build.problem():
        pytest.skip(problem)
    monkeypatch.setitem(build.planted, "float32", build.load("float32", {"sample": TEXT}))
    return lambda grid, block, *arguments: build.launch("float32", "fill", grid, block, arguments)


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((1,), (33,), "33, 1, 1.* is not a whole number of warps"),
        ((1,), (1056,), r"block \(1056, 1, 1\) is out of bounds"),
        ((1,), (32, 64), r"\(32, 64, 1\) is not a whole number of warps up to 1024"),
        ((1,), (1, 1, 128), r"block \(1, 1, 128\) is out of bounds"),
        ((1,), (0,), r"block \(0, 1, 1\) is out of bounds"),
        ((0,), (32,), r"grid \(0, 1, 1\) is out of bounds"),
        ((1, 65536), (32,), r"grid \(1, 65536, 1\) is out of bounds"),
        ((1, 1, 65536), (32,), r"grid \(1, 1, 65536\) is out of bounds"),
        ((2**31,), (32,), "grid .* is out of bounds"),
    ],
)
def test_geometry(grid, block, message, fill):
    with pytest.raises(ValueError, match=f"^fill: .*{message}"):
        fill(grid, block, X, np.int32(4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X,), "2 parameters, 1 arguments"),
        ((X.astype("float64"), np.int32(4)), "parameter 0 is Pf, the argument Pd"),
        ((X, np.int64(4)), "parameter 1 is i, the argument q"),
        ((X, np.float32(4)), "parameter 1 is i, the argument f"),
        ((X, X), "parameter 1 is i, the argument Pf"),
        ((np.int32(4), np.int32(4)), "parameter 0 is Pf, the argument i"),
    ],
)
def test_types(arguments, message, fill):
    with pytest.raises(TypeError, match=f"^fill: {message}"):
        fill((1,), (32,), *arguments)


def test_a_launch_as_it_should_be(fill):
    x = X.copy()
    fill((1,), (32,), x, np.int32(4))
    assert x.sum() == 4


def _shared_bytes(library):
    """Kernel -> the bytes of its shared memory: its static variables, as nm lists them."""
    command = ["nm", "--demangle", "--print-size", library]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    statics = re.findall(
        r"^\w+ (\w+) [bBdDuV] (?!host::|guard )(\S+?)(?:\(.*\))?::(\w+)$", listing, re.M
    )
    total = Counter()
    for size, function, _ in statics:
        total[function] += int(size, 16)
    return total


def test_shared_memory_is_measured(fill):
    library = build.planted["float32"]
    assert _shared_bytes(library._name) == {"large": 4 * (64 * 192 + 1)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shared_memory_fits(dtype, cupy_on_host):
    """Every GPU gives a block 48 KB without further settings. And all shared variables must be in a
    kernel itself: in a template, g++ would not put them where the stand-in looks for them."""
    sizes = _shared_bytes(build.load(dtype)._name)
    kernels = [name for file in build.files() for name in build.KERNEL.findall(cuda.source(file))]
    assert sizes.keys() <= {*kernels}
    assert max(sizes.values()) <= 48 << 10, sizes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_kernel_is_run(dtype, cupy_on_host, monkeypatch):
    """on_host/runs.py launches all kernels."""
    launched, launch = set(), build.launch

    def recorded(dtype, name, *arguments):
        launched.add(name)
        launch(dtype, name, *arguments)

    monkeypatch.setattr(build, "launch", recorded)
    with sv.using("cuda"):
        for run in (run for name in NAMES for run in runs(name)):
            run(dtype)
    written = {k for file in build.files() for k in build.KERNEL.findall(cuda.source(file))}
    assert launched == written, "add a run to on_host/runs.py"
