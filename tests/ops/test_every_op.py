"""What every op must have besides its functions. The ops are found by their file names."""

import inspect
import re
from pathlib import Path

import pytest
from harness import on_device
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae import ops
from scratchvae.backend import find_kernel

TESTS = {path: path.read_text() for path in Path(__file__).parent.glob("test_*.py")}
every_op = pytest.mark.parametrize("op", ops.OPS)


@every_op
def test_it_has_a_pair_and_an_example(op):
    file = f"scratchvae/ops/{op}.py"
    assert f"{op}_backward" in vars(ops.OPS[op]), f"{file} has {op}_forward, but no {op}_backward"
    assert ops.CASES[op], f"{file} has no CASES, which the checks and tests need"
    parameters = list(inspect.signature(getattr(ops, f"{op}_forward")).parameters)
    for case in ops.CASES[op]:
        given = [*case.shapes, *case.options]
        unknown = [name for name in given if name not in parameters]
        assert not unknown, f"{file}: CASES has {unknown}, {op}_forward takes {parameters}"
        assert list(case.shapes) == parameters[: len(case.shapes)], f"{file}: arrays in order"


@every_op
def test_a_test_draws_its_shapes(op):
    calls = re.compile(rf"""check_op\(\s*("{op}"|op\b)""")
    found = [path for path, text in TESTS.items() if calls.search(text) and f'"{op}"' in text]
    assert found, f"tests/ops/test_{op}.py is missing: call check_op('{op}', ...) on drawn shapes"


@every_op
def test_its_file_says_what_it_computes(op):
    text = inspect.getdoc(ops.OPS[op]) or ""
    assert re.search(r"^ +\S.* = ", text, re.M), (
        f"scratchvae/ops/{op}.py: no formula in the docstring"
    )


@every_op
def test_a_gpu_has_a_kernel_for_it(op):
    if find_kernel("cuda", op, f"{op}_forward") is None:
        pytest.skip(f"kernels/cuda/{op}.py is missing: on a GPU the reference body runs")


@pytest.mark.parametrize("op", ["linear", "conv2d", "conv_transpose2d"])
def test_dx_is_left_out_on_request(engine, op):
    arrays = map(on_device, ops.CASES[op][0].arrays(0).values())
    y, cache = getattr(ops, f"{op}_forward")(*arrays, **ops.CASES[op][0].options)
    backward = getattr(ops, f"{op}_backward")
    _, *expected = backward(y, cache)
    dx, *gradients = backward(y, cache, need_dx=False)
    assert dx is None
    for ours, theirs in zip(gradients, expected, strict=True):
        assert_allclose(sv.asnumpy(ours), sv.asnumpy(theirs), rtol=1e-12)
