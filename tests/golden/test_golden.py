"""Ops, models and optimizers compared with stored results of PyTorch; PyTorch is not needed.

make.py has made the files; `pytest -m parity` checks that PyTorch still gives the same values.
"""

import functools
import subprocess
import sys

import numpy as np
import pytest
from golden import cases, values
from harness import TOLERANCE, on_device

import scratchvae as sv
from scratchvae import ops
from scratchvae.models import Model
from scratchvae.module import Param

read = functools.cache(values.read)


def compare(group, case, got, tolerance=None):
    """Check that `got` has exactly the values that are stored for this case."""
    stored, _ = read(group)
    assert case in stored, f"{values.path(group)} has no {case}: {values.COMMAND} computes it"
    assert set(got) == set(stored[case])
    found = values.errors(stored[case], got)
    what = max(found, key=found.get)
    allowed = values.TOLERANCE[group] if tolerance is None else tolerance
    assert found[what] <= allowed, f"{case}: {what} is off by {found[what]:.1e}"


# --- Ops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", cases.OPS)
def test_op(engine, case, dtype):
    op, inputs, options, named = cases.OPS[case]
    if case.endswith(": example") and case not in read("ops")[0]:
        pytest.skip(f"{values.path('ops')} has no {case}: with PyTorch, {values.COMMAND} makes it")
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    cast = {n: on_device(None if a is None else a.astype(dtype)) for n, a in inputs.items()}

    y, cache, *statistics = forward(*cast.values(), *options, **named)
    differentiated = y.total if op == "elbo" else y
    dy = cases.output_gradient(case, np.shape(differentiated)).astype(dtype)
    gradients = backward(on_device(dy), cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)

    names = [name for name in inputs if name not in cases.CONSTANT]
    assert len(gradients) == len(names)
    results = {"y": np.stack([sv.asnumpy(part) for part in y]) if op == "elbo" else y}
    results |= {f"d{name}": g for name, g in zip(names, gradients, strict=True) if g is not None}
    for pair in statistics:
        results |= zip(("running_mean", "running_var"), pair, strict=True)
    results = {what: sv.asnumpy(a) for what, a in results.items()}
    assert {str(a.dtype) for a in results.values()} == {dtype}
    compare("ops", case, results, TOLERANCE[dtype])


def test_every_op_is_here():
    assert {op for op, *_ in cases.OPS.values()} == set(ops.OPS)


# --- Models --------------------------------------------------------------------------------------


LARGE = pytest.mark.slow  # 64 x 64 pixels


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=LARGE if name in ("celeba", "skip") else ())
        for case, (name, *_) in cases.MODELS.items()
    ],
)
def test_model(engine, case):
    """Losses, gradients and running statistics of one step in float64."""
    name, *_, options, training = cases.MODELS[case]
    model = sv.models.build(name, dtype="float64", **options).train(training)
    weights = {name: cases.weight(name, a.shape) for name, a in model.state_dict().items()}
    model.load_state_dict(weights)
    losses = model.loss(*map(sv.asarray, cases.batch(case)))
    model.backward()
    parameters = model.parameters()
    gradients = {name: sv.asnumpy(p.grad) for name, p in parameters.items()}
    buffers = {name: a for name, a in model.state_dict().items() if name not in parameters}
    compare("models", case, values.model_results(list(map(float, losses)), gradients, buffers))


def test_every_model_is_here():
    assert {model for model, *_ in cases.MODELS.values()} == set(sv.models.MODELS)


def test_only_biases_before_a_batch_norm_have_no_gradient():
    """Values that are only rounding are not compared; no other gradient may be among them."""
    for case, results in read("models")[0].items():
        norms = {what: a[0] for what, a in results.items() if what.startswith("gradient of")}
        norms = {what: norm for what, norm in norms.items() if what.endswith("sums")}
        limit = values.NEGLIGIBLE * max(norms.values())
        idle = [what for what, norm in norms.items() if norm <= limit]
        assert len(idle) == (10 if case == "celeba" else 0)
        assert all(what.endswith(".0.bias, sums") for what in idle)


# --- Optimizers ----------------------------------------------------------------------------------


class Twenty(Model):
    """Twenty values in two parameters."""

    def __init__(self):
        self.weight, self.bias = (Param(np.zeros(shape)) for shape in cases.SHAPES.values())
        self.to("float64")
        self.flat_value = sv.asarray(cases.start())


@pytest.mark.parametrize("case", cases.OPTIMIZERS)
def test_optimizer(engine, case):
    name, options = cases.OPTIMIZERS[case]
    model, history = Twenty(), []
    optimizer = getattr(sv.optim, name)(model, **options)
    for step in range(cases.STEPS):
        model.flat_grad = sv.asarray(cases.gradient(step))
        optimizer.step()
        history.append(sv.asnumpy(model.flat_value).copy())
    compare("optimizers", case, {"values after each step": np.stack(history)})


@pytest.mark.parametrize("case", cases.CLIPPING)
def test_clip_grad_norm(engine, case):
    model = Twenty()
    model.flat_grad = sv.asarray(cases.gradient(0))
    norm = sv.optim.clip_grad_norm(model, cases.CLIPPING[case])
    results = {"norm": np.array([float(norm)]), "gradients": sv.asnumpy(model.flat_grad)}
    compare("optimizers", case, results)


# --- The files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("group", values.TOLERANCE)
def test_files_say_where_they_come_from(group):
    stored, metadata = read(group)
    assert set(metadata) == {"torch", "date", "command"}
    known = {
        "ops": cases.OPS,
        "models": cases.MODELS,
        "optimizers": cases.OPTIMIZERS | cases.CLIPPING,
    }
    assert set(stored) == set(known[group])


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no golden values at .*ops.safetensors: .*git"):
        values.read("ops", tmp_path)


@pytest.mark.parametrize(
    ("expected", "got", "error"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.25),
        ([1.0, 2.0], [1.0, np.nan], np.inf),
        ([0.0, 0.0], [0.0, 1e-300], np.inf),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1.0, 2.0], [1.0], np.inf),
    ],
)
def test_errors(expected, got, error):
    assert values.errors({"y": np.array(expected)}, {"y": np.array(got)}) == {"y": error}


@pytest.mark.parity
def test_pytorch_still_says_the_same():
    command = [sys.executable, values.FOLDER / "make.py", "--check"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
