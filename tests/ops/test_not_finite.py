"""One NaN or infinity reaches the same elements on every engine, in forward and backward.

test_conv_not_finite.py has the convolutions; tests/test_parity.py compares with PyTorch; the
docstrings of the ops list the differences.
"""

import numpy as np
import pytest
from harness import convolutions, on_device, run_op
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.kernels.cpu.convolution.correlate import ALGORITHMS
from scratchvae.ops import CASES

pytestmark = pytest.mark.slow

OPS = sorted(set(CASES) - {"elbo"})
VALUES = [np.nan, np.inf, -np.inf]


def with_one(op, case, name, value, seed):
    """The results of the current engine and of the reference, for arrays with one such value in one
    of them."""
    rng, forward = np.random.default_rng(seed), getattr(ops, f"{op}_forward")
    arrays = {n: a.astype("float32") for n, a in case.arrays(seed).items()}
    y = forward.reference(*map(on_device, arrays.values()), **case.options)[0]
    given = arrays | {"dy": rng.standard_normal(y.shape).astype("float32")}
    given[name].flat[rng.integers(given[name].size)] = value
    *arrays, dy = given.values()
    with np.errstate(all="ignore"):
        ours = run_op(op, arrays, case.options, dy)
        return ours, run_op(op, arrays, case.options, dy, forward.reference)


def places(op, value):
    for case in CASES[op]:
        for name in (*case.shapes, "dy"):
            if name == "target" or (name == "running_var" and value < 0):
                continue  # rejected targets; variances must be positive
            for seed in range(4):
                yield case, name, seed


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("op", [op for op in OPS if not op.startswith("conv")])
def test_it_goes_where_the_reference_takes_it(engine, op, value):
    for case, name, seed in places(op, value):
        for ours, theirs in zip(*with_one(op, case, name, value, seed), strict=True):
            what = f"{value} in {name}, {case.variant or case.options}, seed {seed}"
            assert_array_equal(np.isfinite(ours), np.isfinite(theirs), what)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.parametrize("op", [op for op in OPS if op.startswith("conv")])
def test_no_algorithm_of_a_convolution_swallows(op, algorithm, value):
    with convolutions(algorithm), sv.using("numba"):
        for case, name, seed in places(op, value):
            for ours, theirs in zip(*with_one(op, case, name, value, seed), strict=True):
                assert not (np.isfinite(ours) & ~np.isfinite(theirs)).any()


def test_finite_numbers_stay_finite(engine):
    """The checks above would not notice a reference that makes everything NaN."""
    for op in OPS:
        for case in CASES[op]:
            arrays = [a.astype("float32") for a in case.arrays(0).values()]
            found = run_op(op, arrays, case.options, lambda shape: np.full(shape, 0.5, "float32"))
            assert_array_equal([bool(np.isfinite(a).all()) for a in found], True)


@pytest.mark.parametrize("value", VALUES)
def test_adaptive_pooling_keeps_it_in_its_windows(engine, value):
    """In forward a NaN pixel reaches only its windows, in backward a NaN dy only its pixels."""
    x = np.zeros((2, 3, 6, 5), "float32")
    x[1, 2, 3, 1] = value
    y, cache = ops.adaptive_avg_pool2d_forward(on_device(x), (4, 3))
    naive = ops.adaptive_avg_pool2d_naive(x, (4, 3))
    assert_array_equal(sv.asnumpy(y), naive)
    assert not np.isfinite(naive).all()

    dy = np.zeros((2, 3, 4, 3), "float32")
    dy[1, 2, 1, 1] = value
    dx = sv.asnumpy(ops.adaptive_avg_pool2d_backward(on_device(dy), cache))
    expected = np.zeros((2, 3, 6, 5), "float32")
    expected[1, 2, 1:3, 1:4] = value
    assert_array_equal(dx, expected)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("op", ["batch_norm", "batch_norm_leaky_relu"])
def test_batch_norm_in_evaluation_moves_no_gradient_by_it(engine, op, value):
    """Mean and variance are constants there: dx depends on x only through the ReLU."""
    x = np.ones((2, 3, 2, 2), "float32")
    x[0, 1, 1, 0] = value
    vectors = [on_device(np.full(3, n, "float32")) for n in (0, 1, 2, 3)]
    _, cache, _ = getattr(ops, f"{op}_forward")(on_device(x), *vectors, False)
    dx, _, _ = getattr(ops, f"{op}_backward")(on_device(np.ones_like(x)), cache)
    dx = sv.asnumpy(dx).copy()
    assert np.isfinite(dx).all()
    dx[0, 1, 1, 0] = dx[0, 1, 0, 0]
    assert_array_equal(dx, dx[0, 0, 0, 0])


def test_relu_lets_no_gradient_through_a_nan(engine):
    """PyTorch lets it through; see ops/relu.py."""
    y, cache = ops.relu_forward(on_device(np.array([np.nan, np.inf, -np.inf, 1, -1, 0])))
    assert_array_equal(sv.asnumpy(y), [np.nan, np.inf, 0, 1, 0, 0])
    dx = ops.relu_backward(on_device(np.full(6, 2.0)), cache)
    assert_array_equal(sv.asnumpy(dx), [0, 2, 0, 2, 0, 0])
