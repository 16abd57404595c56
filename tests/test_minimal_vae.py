"""examples/minimal_vae.py: one step is equal to a step of `mlp`, and it uses NumPy alone."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_digits

import scratchvae as sv

FILE = Path(__file__).resolve().parents[1] / "examples/minimal_vae.py"


@pytest.fixture(scope="module")
def minimal():
    return runpy.run_path(str(FILE))


def test_three_steps_are_those_of_mlp(minimal):
    """Losses, every gradient and every parameter, in float64."""
    with sv.using("numpy"):
        model = sv.models.build("mlp", dtype="float64")
        optimizer, rng = sv.optim.Adam(model, lr=minimal["LR"]), np.random.default_rng(0)
        params = {name: p.value.copy() for name, p in model.parameters().items()}
        m, v = ({name: np.zeros_like(p) for name, p in params.items()} for _ in range(2))
        for step in (1, 2, 3):
            x, eps = rng.random((5, 1, 28, 28)), rng.standard_normal((5, 20))
            losses = sv.train.train_step(model, optimizer, x, eps)
            found, cache = minimal["forward"](params, x.reshape(5, 784), eps)
            grads = minimal["backward"](params, cache)
            minimal["adam"](params, grads, m, v, step)
            np.testing.assert_allclose(found, losses[1:], rtol=1e-12)
            for name, p in model.parameters().items():
                scale = np.abs(p.grad).max()
                np.testing.assert_allclose(grads[name], p.grad, rtol=0, atol=1e-12 * scale)
                # The first update is lr sign(g), also for the gradients that are rounding errors.
                np.testing.assert_allclose(params[name], p.value, rtol=0, atol=1e-12)


def test_it_imports_numpy_and_the_standard_library(minimal):
    tree = ast.walk(ast.parse(FILE.read_text()))
    names = [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
    froms = [node.module for node in ast.walk(ast.parse(FILE.read_text()))
             if isinstance(node, ast.ImportFrom)]  # fmt: skip
    assert {*names, *froms} - sys.stdlib_module_names == {"numpy"}


def test_the_initial_weights_are_those_of_pytorch(minimal):
    params = minimal["initial_weights"](np.random.default_rng(0))
    model = sv.models.build("mlp")
    assert {n: p.shape for n, p in params.items()} == {
        n: p.value.shape for n, p in model.parameters().items()
    }
    for name, p in model.parameters().items():
        bound = np.abs(p.value).max()
        assert np.abs(params[name]).max() == pytest.approx(bound, rel=0.2)


def test_it_trains(tmp_path):
    folder = write_digits(tmp_path / "data", 300, 50)
    command = [sys.executable, "-W", "error", FILE, "--epochs", "3", "--data-dir"]
    done = subprocess.run([*command, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    elbos = [float(line.split()[4]) for line in done.stdout.splitlines()]
    assert len(elbos) == 3 and elbos[2] < elbos[0]
    done = subprocess.run([*command, tmp_path / "none"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("minimal_vae.py: error: ") and done.stderr.count("\n") == 1
