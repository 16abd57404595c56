"""The CUDA kernels under NVIDIA's compute-sanitizer, on a GPU; tests/on_host needs no GPU."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scratchvae.backend import gpu_problem

TESTS = Path(__file__).parent
RUN_ALL = """
import scratchvae as sv
from on_host import runs
sv.use("cuda")
for name in runs.NAMES:
    for run in runs.runs(name):
        for dtype in ("float32", "float64"):
            run(dtype)
import cupy
cupy.cuda.Device().synchronize()
print("ran all kernels")
"""


@pytest.mark.gpu
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
def test_compute_sanitizer(tool):
    if problem := gpu_problem():
        pytest.skip(problem)
    if not shutil.which("compute-sanitizer"):
        pytest.skip("compute-sanitizer is not installed")
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    run = subprocess.run(
        [*command, sys.executable, "-c", RUN_ALL],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(TESTS.parent), str(TESTS)))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "ran all kernels" in run.stdout


def test_what_the_sanitizer_runs(cupy_on_host, capsys):
    """The same code on the stand-in, so that it is tested on machines without a GPU too."""
    from scratchvae import using

    with using("cuda"):
        exec(RUN_ALL, {})
    assert capsys.readouterr().out == "ran all kernels\n"
