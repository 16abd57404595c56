"""linear, conv2d and conv_transpose2d with the leaky ReLU after them in the same op."""

import numpy as np
import pytest
from harness import check_op, convolutions
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.gradcheck.cases import CASES
from scratchvae.kernels.cpu.convolution.algorithms import ALGORITHMS

seeds = st.integers(0, 2**32 - 1)
small = st.integers(1, 3)
pairs = st.tuples(small, small)
slopes = st.sampled_from([0.0, 0.2, 1.0, 2.0])
tiles = st.sampled_from([1, 2000, 1 << 20])  # bytes: one image a tile, a few, all
ways = st.sampled_from(sorted(ALGORITHMS))  # of the kernel
TOGETHER = ("linear", "conv2d", "conv_transpose2d")
together = pytest.mark.parametrize("op", TOGETHER)


def check(op, arrays, sizes, slope, padded_bytes=1 << 20, way="direct"):
    """At numbers away from the kink, where engines may take different sides."""
    h, _ = getattr(ops, f"{op}_forward").reference(*arrays, *sizes)
    assume(np.abs(h).min() > 1e-3)
    with convolutions(way, padded_bytes):
        check_op(f"{op}_leaky_relu", arrays, (*sizes, slope))


@given(seed=seeds, N=small, inputs=small, outputs=small, bias=st.booleans(), slope=slopes)
def test_linear_leaky_relu(engine, seed, N, inputs, outputs, bias, slope):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((N, inputs)), rng.standard_normal((outputs, inputs))
    check("linear", (x, w, rng.standard_normal(outputs) if bias else None), (), slope)


@pytest.mark.slow_on_host
@given(
    seed=seeds,
    batch=st.integers(1, 5),
    channels=pairs,
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
    slope=slopes,
    padded_bytes=tiles,
    way=ways,
)
def test_conv2d_leaky_relu(
    engine, seed, batch, channels, size, kernel, stride, padding, bias, slope, padded_bytes, way
):
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels[0], *size))
    w = rng.standard_normal((channels[1], channels[0], *kernel))
    b = rng.standard_normal(channels[1]) if bias else None
    check("conv2d", (x, w, b), (stride, padding), slope, padded_bytes, way)


@pytest.mark.slow_on_host
@given(
    seed=seeds,
    batch=st.integers(1, 5),
    channels=pairs,
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    output_padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    bias=st.booleans(),
    slope=slopes,
    padded_bytes=tiles,
    way=ways,
)
def test_conv_transpose2d_leaky_relu(
    engine,
    seed,
    batch,
    channels,
    size,
    kernel,
    stride,
    padding,
    output_padding,
    bias,
    slope,
    padded_bytes,
    way,
):
    sizes = zip(size, kernel, stride, padding, output_padding, strict=True)
    assume(all(op < s and (n - 1) * s - 2 * p + k + op > 0 for n, k, s, p, op in sizes))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels[0], *size))
    w = rng.standard_normal((channels[0], channels[1], *kernel))
    b = rng.standard_normal(channels[1]) if bias else None
    sizes = stride, padding, output_padding
    check("conv_transpose2d", (x, w, b), sizes, slope, padded_bytes, way)


def both(op, case, seed=0):
    """The op's two functions, and those of the op without the activation; arrays and options."""
    names = [
        f"{name}_{way}" for name in (f"{op}_leaky_relu", op) for way in ("forward", "backward")
    ]
    options = {name: value for name, value in case.options.items() if name != "negative_slope"}
    arrays = [sv.asarray(a) for a in case.arrays(seed).values()]
    return *(getattr(ops, name) for name in names), arrays, options


@together
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0, 3.0])
def test_is_the_one_after_the_other(engine, op, slope):
    """A slope of 0 is ReLU, one of 1 nothing."""
    for case in CASES[op]:
        forward, backward, affine_forward, affine_backward, arrays, options = both(op, case)
        y, cache = forward(*arrays, **options, negative_slope=slope)
        h, affine_cache = affine_forward(*arrays, **options)
        expected, relu_cache = ops.leaky_relu_forward(h, slope)
        assert_allclose(sv.asnumpy(y), sv.asnumpy(expected), rtol=1e-12, atol=1e-12)
        dy = sv.asarray(np.random.default_rng(1).standard_normal(y.shape))
        if slope == 0:
            y_too, relu_cache = ops.relu_forward(h)
            assert_allclose(sv.asnumpy(y), sv.asnumpy(y_too), rtol=1e-12, atol=1e-12)
            dh = ops.relu_backward(dy, relu_cache)
        else:
            dh = dy if slope == 1 else ops.leaky_relu_backward(dy, relu_cache)
        gradients = zip(backward(dy, cache), affine_backward(dh, affine_cache), strict=True)
        for one, other in gradients:
            assert (one is None) == (other is None)
            if other is not None:
                assert_allclose(sv.asnumpy(one), sv.asnumpy(other), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", sorted(ALGORITHMS))
@pytest.mark.parametrize("op", TOGETHER[1:])
@pytest.mark.parametrize("slope", [0.2, 1.0])
def test_every_way_in_two_memory_orders(op, way, slope):
    """Whether y and dy come with their channels first or last, to be read only."""
    case = CASES[f"{op}_leaky_relu"][0]
    forward, backward, *_, arrays, options = both(op, case)
    expected, cache = forward.reference(*arrays, **options, negative_slope=slope)
    dy = np.random.default_rng(1).standard_normal(expected.shape)
    expected_gradients = backward(dy, cache)
    last = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for each in (dy, last):
        each.flags.writeable = False
        with convolutions(way), sv.using("numba"):
            y, cache = forward(*arrays, **options, negative_slope=slope)
            gradients = backward(each, cache)
        assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
        for one, other in zip(gradients, expected_gradients, strict=True):
            assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@together
def test_dx_is_left_out_on_request(engine, op):
    for case in CASES[op]:
        forward, backward, _, _, arrays, options = both(op, case)
        y, cache = forward(*arrays, **options)
        _, again = forward(*arrays, **options)
        dx, *others = backward(y, cache, need_dx=False)
        full_dx, *expected = backward(y, again)
        assert dx is None and full_dx is not None
        for one, other in zip(others, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert_array_equal(sv.asnumpy(one), sv.asnumpy(other))


@together
@pytest.mark.parametrize("slope", [-0.1, float("nan")])
def test_a_negative_slope_is_refused(engine, op, slope):
    """Its backward could not tell from y on which side h was."""
    forward, _, _, _, arrays, options = both(op, CASES[op][0])
    message = f"{op}_leaky_relu_forward: negative_slope must be at least 0, got {slope}"
    with pytest.raises(ValueError, match=message):
        forward(*arrays, **options, negative_slope=slope)


@together
def test_errors_are_those_of_the_op_without(engine, op):
    forward, _, _, _, (x, w, *_), options = both(op, CASES[op][0])
    what = "features" if op == "linear" else "channels"
    with pytest.raises(ValueError, match=f"{op}_leaky_relu_forward: x has . {what}, w expects"):
        forward(x[:, :2], w, **options)
