"""What the CPU kernels share: compilation, memory order, the processor's instructions."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae.kernels import cpu
from scratchvae.kernels.cpu.convolution import layout
from scratchvae.kernels.cpu.runtime import machine, threads

DOUBLE = """
import sys
sys.path.insert(0, {folder!r})
import kernels_for_this_test.double as double
import numpy as np
print(double.twice(np.ones(3)).sum(), sum(double.twice.stats.cache_hits.values()))
"""


@pytest.fixture
def double(tmp_path):
    """A copy of the kernels' folder with a small kernel that uses a number of another file; returns
    a function that runs it in a new process: (result, found on disk)."""
    folder = tmp_path / "kernels_for_this_test"
    folder.mkdir()
    for name in ("__init__.py", "runtime/__init__.py", "runtime/cache.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text((Path(cpu.__file__).parent / name).read_text())
    (folder / "other.py").write_text("FACTOR = 2.0\n")
    (folder / "double.py").write_text(
        "from . import jit\nfrom .other import FACTOR\n\n\n"
        "@jit\ndef twice(x):\n    return FACTOR * x\n"
    )

    def run(**environment):
        code = DOUBLE.format(folder=str(tmp_path))
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), **environment},
        )
        assert run.returncode == 0, run.stderr
        total, hits = run.stdout.split(" ", 1)
        return float(total), int(hits) > 0

    run.folder = folder
    return run


@pytest.mark.slow
def test_machine_code_is_found_again_and_never_stale(double):
    assert double() == (6.0, False)
    assert double() == (6.0, True)
    (double.folder / "other.py").write_text("FACTOR = 4.0\n")  # with the same file size
    assert double() == (12.0, False)
    assert double() == (12.0, True)


def test_an_edit_of_any_file_makes_machine_code_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "__file__", str(tmp_path / "__init__.py"))
    stamps = set()
    for name in ("__init__.py", "other.py", "other.py"):
        with (tmp_path / name).open("a") as file:
            file.write("x = 1\n")
        monkeypatch.setattr(cpu, "_stamp", "")
        stamps.add(cpu._sources())
    assert len(stamps) == 3


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("shape", [(1, 33, 70), (1, 70, 33), (2, 5, 40), (4, 40, 5)])
def test_turned_is_the_transpose(monkeypatch, cores, shape):
    """Also at the edges, where blocks are incomplete. Numbers that are not written are NaN."""
    for module in (threads, layout):
        monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.setattr(threads, "SMALL", 0)
    monkeypatch.setattr(layout, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    a = np.random.default_rng(0).standard_normal(shape)
    turned = layout.turned(a)
    assert_array_equal(turned, a.transpose(0, 2, 1))
    assert turned.flags.c_contiguous


@pytest.mark.parametrize("engine_name", ["numpy", "numba"])
def test_relu_backward_takes_nan_without_a_warning(engine_name):
    with sv.using(engine_name):
        _, cache = sv.ops.relu_forward(np.array([np.nan, 1.0]))
        assert_array_equal(sv.ops.relu_backward(np.ones(2), cache), [0, 1])


@pytest.mark.parametrize(
    ("variable", "value", "changed"),
    [
        ("OPENBLAS_CORETYPE", "Sandybridge", {"blas core"}),
        ("NUMBA_CPU_NAME", "generic", {"compiled for", "features"}),
        ("NUMBA_CPU_FEATURES", "+avx", {"features"}),
    ],
)
def test_other_instructions_are_noticed(variable, value, changed):
    here = machine.instructions()
    if variable == "OPENBLAS_CORETYPE" and here["blas core"] in (None, value):
        pytest.skip("this BLAS has no such processor type, or has no other")
    code = "from scratchvae.kernels.cpu.runtime import machine; print(dict(machine.instructions()))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, variable: value},
    )
    assert run.returncode == 0, run.stderr
    there = ast.literal_eval(run.stdout)
    assert {name for name in here if here[name] != there[name]} == changed
