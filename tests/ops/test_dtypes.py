"""What every op says to arrays of the wrong kind, and what it does with complex ones."""

import numpy as np
import pytest

import scratchvae as sv
from scratchvae import ops

IMAGE, MATRIX, VECTOR = (2, 3, 6, 6), (2, 3), (3,)
CASES = {
    "conv2d": ([IMAGE, (4, 3, 3, 3), (4,)], ()),
    "conv_transpose2d": ([IMAGE, (3, 4, 3, 3), (4,)], ()),
    "linear": ([MATRIX, (4, 3), (4,)], ()),
    "batch_norm": ([IMAGE, VECTOR, VECTOR, VECTOR, VECTOR], (True,)),
    "max_pool2d": ([IMAGE], (2,)),
    "avg_pool2d": ([IMAGE], (2,)),
    "adaptive_avg_pool2d": ([IMAGE], (4,)),
    "upsample_nearest": ([IMAGE], (2,)),
    "relu": ([MATRIX], ()),
    "leaky_relu": ([MATRIX], ()),
    "sigmoid": ([MATRIX], ()),
    "tanh": ([MATRIX], ()),
    "reparameterize": ([MATRIX, MATRIX, MATRIX], ()),
    "bce": ([MATRIX, MATRIX], ()),
    "mse": ([MATRIX, MATRIX], ()),
    "kl": ([MATRIX, MATRIX], ()),
    "elbo": ([VECTOR, VECTOR], ()),
}
every_op = pytest.mark.parametrize("op", CASES)


def arrays_of(op, dtype="float64"):
    rng = np.random.default_rng(0)
    return [rng.uniform(0.1, 0.9, shape).astype(dtype) for shape in CASES[op][0]]


def run(op, arrays):
    return getattr(ops, f"{op}_forward")(*arrays, *CASES[op][1])


def test_every_op_is_here():
    assert set(CASES) == {
        name.removesuffix("_forward") for name in ops.__all__ if "_forward" in name
    }


@every_op
@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "complex64"])
def test_other_dtypes_are_refused(engine, op, dtype):
    with pytest.raises(TypeError, match=rf"{op}_forward: \w+ must be float32 or float64 .*{dtype}"):
        run(op, [np.ones(a.shape, dtype) for a in arrays_of(op)])


@every_op
def test_mixed_dtypes_are_refused(engine, op):
    first, *others = arrays_of(op)
    if others:
        with pytest.raises(
            TypeError, match=f"{op}_forward: all arrays must share one dtype, got .*32"
        ):
            run(op, [first.astype("float32"), *others])


@every_op
def test_lists_are_refused(engine, op):
    first, *others = arrays_of(op)
    with pytest.raises(
        TypeError, match=f"{op}_forward: .* must be a NumPy or CuPy array, got list"
    ):
        run(op, [first.tolist(), *others])


@every_op
def test_empty_arrays_are_refused(engine, op):
    first, *others = arrays_of(op)
    with pytest.raises(ValueError, match=f"{op}_forward: .* is empty: its shape is"):
        run(op, [first[:0], *others])


@every_op
def test_complex_step(op):
    """Every body is analytic: Im f(x + ihv) / h is the derivative that differences see."""
    arrays = arrays_of(op)
    direction = np.random.default_rng(1).standard_normal(arrays[0].shape)

    def total(first):
        y = run(op, [first, *arrays[1:]])[0]
        return np.sum(
            y.total if isinstance(y, ops.Losses) else y * np.cos(np.arange(y.size)).reshape(y.shape)
        )

    with sv.using("numba"):  # complex128 takes the reference body on any engine
        numeric = (total(arrays[0] + 1e-6 * direction) - total(arrays[0] - 1e-6 * direction)) / 2e-6
        by_complex_step = total(arrays[0] + 1e-100j * direction).imag / 1e-100
    assert by_complex_step == pytest.approx(numeric, rel=1e-7, abs=1e-9)


@every_op
def test_backward_refuses_a_dy_unlike_y(engine, op):
    y, cache, *_ = run(op, arrays_of(op))
    if op == "elbo":
        return  # its dy is a number
    backward = getattr(ops, f"{op}_backward")
    with pytest.raises(ValueError, match=f"{op}_backward: dy must be like y, float64 of shape"):
        backward(y[None], cache)
    with pytest.raises(ValueError, match=f"{op}_backward: dy must be like y.* got float32"):
        backward(y.astype("float32"), cache)


@every_op
def test_backward_refuses_a_foreign_cache(engine, op):
    backward = getattr(ops, f"{op}_backward")
    with pytest.raises(
        TypeError, match=f"{op}_backward: expected the cache of {op}_forward, got tuple"
    ):
        backward(np.ones(3), ())
    other = "relu" if op != "relu" else "tanh"
    _, cache, *_ = run(other, arrays_of(other))
    with pytest.raises(TypeError, match=f"expected the cache of {op}_forward, got one of {other}"):
        backward(np.ones(MATRIX), cache)
