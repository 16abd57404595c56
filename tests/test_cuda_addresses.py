"""The CUDA kernels under AddressSanitizer, in a separate process, where it is loaded first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def _under_sanitizer(*tests):
    """pytest's output with kernels compiled by g++ -fsanitize=address."""
    command = ["g++", "-print-file-name=libasan.so"]
    libasan = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    settings = {
        "LD_PRELOAD": libasan,
        # Python is not compiled for leak checks. Each fiber has its own stack, where the sanitizer
        # would search for stack frames that it has moved to its heap.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=0",
        "PYTHONMALLOC": "malloc",  # so that each array of the stand-in has a poisoned fence
        "SCRATCHVAE_HOST_FLAGS": "-fsanitize=address -g1",
        "SCRATCHVAE_HOST_MODE": "plain",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        "-m",
        "",
        *tests,
    ]
    return subprocess.run(
        command,
        cwd=HERE.parent,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_kernels_stay_in_their_arrays(cupy_on_host):
    run = _under_sanitizer("tests/test_cuda_launches.py::test_every_kernel_is_run")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[:4000]
    assert "2 passed" in run.stdout


def test_a_stopped_launch_is_no_harm(cupy_on_host):
    """The stacks of threads that never ended are reused."""
    run = _under_sanitizer("tests/test_cuda_races.py", "-k", "in_vain or starts_as_nan")
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[:4000]
    assert "passed" in run.stdout


@pytest.mark.parametrize("name", ["store_behind", "load_before"])
def test_a_fault_is_seen(name, cupy_on_host, tmp_path):
    planted = tmp_path / "test_planted.py"
    planted.write_text(PLANTED.format(tests=str(HERE), name=name))
    run = _under_sanitizer("-c", str(HERE.parent / "setup.cfg"), str(planted))
    assert run.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in run.stderr, run.stderr[:3000]
    assert name in run.stderr


PLANTED = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
from on_host import build

TEXT = '''
extern "C" __global__ void store_behind(REAL* x, int count) {{ x[threadIdx.x + 1] = 1; }}
extern "C" __global__ void load_before(REAL* x, int count) {{ x[0] = x[int(threadIdx.x) - 1]; }}
'''

def test_planted():
    build.KERNEL = build.re.compile("void (\\\\w+)")
    x = np.frombuffer(bytearray(4 * 64), "float32")  # as cupy/cuda.py allocates
    build.planted["float32"] = build.load("float32", {{"sample": TEXT}})
    build.launch("float32", {name!r}, (1,), (64,), [x, np.int32(64)])
"""
