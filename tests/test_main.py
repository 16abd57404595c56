"""The `scratchvae` command."""

import subprocess
import sys

import pytest

import scratchvae
from scratchvae.__main__ import main
from scratchvae.backend import find_kernel
from scratchvae.commands.kernels import kernels
from scratchvae.ops import __all__ as op_functions


def test_kernels_lists_every_op_on_every_engine(capsys):
    assert main(["kernels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["function", "numpy", "numba", "cuda"]
    rows = {
        line.split()[0]: line.split()[1:] for line in lines[2:] if line and len(line.split()) == 4
    }
    functions = {f for f in op_functions if f.endswith(("_forward", "_backward"))}
    others = {"sgd_step", "adam_step", "clip_to_norm", "fill_normal", "fill_words", "record"}
    assert set(rows) == functions | others | {"look_up"}
    kernels_of_conv2d = ["kernels/cpu/conv2d.py", "kernels/cuda/conv2d.py"]
    assert rows["conv2d_forward"] == ["reference", *kernels_of_conv2d]
    assert rows["kl_forward"] == ["reference", "reference", "kernels/cuda/kl.py"]


def test_every_op_has_a_kernel_on_the_gpu():
    """Where a launch costs more than the arithmetic, an op's body is a dozen launches."""
    for name in op_functions:
        if name.endswith(("_forward", "_backward")):
            op = name.rpartition("_")[0]
            assert find_kernel("cuda", op, name), name


def test_kernels_says_why_cuda_cannot_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "cuda cannot run here: CuPy is not installed" in kernels()


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["kernels", "surplus"]])
def test_usage_errors_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage: scratchvae" in capsys.readouterr().err


def test_as_a_module(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "scratchvae", "--version"], capture_output=True, text=True
    )
    assert run.stdout == f"scratchvae {scratchvae.__version__}\n", run.stderr
