"""A NaN or an infinity that goes into a kernel comes out of it: wherever the reference body has a
number that is not finite, the engine in use has one, too. (It may have more: Toom and Cook's way
spreads them over a tile.)"""

from unittest.mock import patch

import numpy as np
import pytest
from harness import on_device
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops, using
from scratchvae.gradcheck.cases import CASES
from scratchvae.kernels.cpu.ways import WAYS

# adaptive_avg_pool2d's body is a product of matrices, and 0 x infinity is NaN: it spreads them
OPS = sorted(set(CASES) - {"elbo", "adaptive_avg_pool2d"})


def results(forward, backward, arrays, options, dy):
    with np.errstate(all="ignore"):
        y, cache, *_ = forward(*map(on_device, arrays), **options)
        gradients = backward(on_device(np.full(y.shape, dy, y.dtype)), cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return [sv.asnumpy(a) for a in (y, *gradients) if a is not None]


def check(op, case, name, value, seed):
    rng = np.random.default_rng(seed)
    arrays = {n: a.astype("float32") for n, a in case.arrays(seed).items()}
    dy = np.float32(0.5)
    if name == "dy":
        dy = np.float32(value)
    else:
        arrays[name].flat[rng.integers(arrays[name].size)] = value
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    given = [*arrays.values()]
    ours = results(forward, backward, given, case.options, dy)
    theirs = results(forward.reference, backward, given, case.options, dy)
    for one, other in zip(ours, theirs, strict=True):
        lost = np.isfinite(one) & ~np.isfinite(other)
        assert not lost.any(), f"{op}: {value} in {name} is lost"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("op", OPS)
def test_nothing_is_swallowed(engine, op, value):
    for case in CASES[op]:
        for name in (*case.shapes, "dy"):
            if name == "target" or (name == "running_var" and value < 0):
                continue  # refused; and no variance
            for seed in range(3):
                check(op, case, name, value, seed)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("op", [op for op in OPS if op.startswith("conv")])
def test_no_way_of_a_convolution_swallows(op, way, value):
    fastest = patch("scratchvae.kernels.cpu.correlation.fastest", lambda *_: (way, 1.0))
    with fastest, using("numba"):
        for case in CASES[op]:
            for name in (*case.shapes, "dy"):
                for seed in range(3):
                    check(op, case, name, value, seed)


def test_finite_numbers_stay_finite(engine):
    """The check above would not see a kernel that makes everything NaN."""
    for op in OPS:
        for case in CASES[op]:
            arrays = [a.astype("float32") for a in case.arrays(0).values()]
            functions = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
            found = results(*functions, arrays, case.options, np.float32(0.5))
            assert_array_equal([bool(np.isfinite(a).all()) for a in found], True)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_adaptive_pooling_keeps_them_in_their_windows(engine, value):
    """Both ways: a window for every pixel, and every pixel for its windows."""
    if engine == "numpy":
        pytest.skip("the body spreads them: see OPS")
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype("float32")
    x[1, 2, 3, 1] = value
    y, cache = ops.adaptive_avg_pool2d_forward(on_device(x), (4, 3))
    naive = ops.adaptive_avg_pool2d_naive(x, (4, 3))
    assert_array_equal(np.isfinite(sv.asnumpy(y)), np.isfinite(naive))
    assert not np.isfinite(naive).all()

    dy = np.zeros((2, 3, 4, 3), "float32")
    dy[1, 2, 1, 1] = value
    dx = ops.adaptive_avg_pool2d_backward(on_device(dy), cache)
    n, c, rows, columns = np.nonzero(~np.isfinite(sv.asnumpy(dx)))
    assert {*zip(n, c, rows, columns, strict=True)} == {
        (1, 2, h, w) for h in (1, 2) for w in (1, 2, 3)
    }
