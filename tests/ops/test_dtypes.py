"""The errors of every op for arrays of the wrong kind, and its results for complex ones."""

import re

import numpy as np
import pytest
from harness import as_tuple, on_device

import scratchvae as sv
from scratchvae import ops

CASES = {op: cases[0] for op, cases in ops.CASES.items()}
every_op = pytest.mark.parametrize("op", CASES)


def arrays_of(op, dtype="float64"):
    rng = np.random.default_rng(0)
    shapes = CASES[op].shapes.values()
    return [on_device(rng.uniform(0.1, 0.9, shape).astype(dtype)) for shape in shapes]


def run(op, arrays):
    return getattr(ops, f"{op}_forward")(*arrays, **CASES[op].options)


@every_op
@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "complex64"])
def test_other_dtypes_are_refused(engine, op, dtype):
    with pytest.raises(TypeError, match=rf"{op}_forward: \w+ must be float32 or float64 .*{dtype}"):
        run(op, [on_device(np.ones(a.shape, dtype)) for a in arrays_of(op)])


REFUSED = {  # the first array, made from the right one, and the message
    "masked": (np.ma.masked_array, ".* NumPy or CuPy array, got MaskedArray"),  # its mask is lost
    "None": (lambda a: None, ".* must be a NumPy .* got NoneType"),
    "list": (np.ndarray.tolist, ".* must be a NumPy or CuPy array, got list"),
    "mixed": (
        lambda a: on_device(a.astype("float32")),
        "all arrays must share one dtype, got .*32",
    ),
    "empty": (lambda a: on_device(a[:0]), ".* is empty: its shape is"),
}


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (op, kind)
        for op in CASES
        for kind in REFUSED
        if kind != "mixed" or len(CASES[op].shapes) > 1
    ],
)
def test_these_arrays_are_refused(engine, op, kind):
    change, message = REFUSED[kind]
    first, *others = arrays_of(op)
    error = ValueError if kind == "empty" else TypeError
    with pytest.raises(error, match=f"{op}_forward: {message}"):
        run(op, [change(sv.asnumpy(first)), *others])


@every_op
def test_missing_and_surplus_arguments_are_refused(engine, op):
    """The error names the function that was called, not one inside it."""
    name, arrays = f"{op}_forward", arrays_of(op)
    with pytest.raises(TypeError, match=f"^{name}: missing a required argument: '"):
        getattr(ops, name)()
    with pytest.raises(TypeError, match=f"^{name}: too many positional arguments"):
        getattr(ops, name)(*arrays, *[1] * 9)
    with pytest.raises(TypeError, match=f"^{name}: got an unexpected keyword argument 'xx'"):
        getattr(ops, name)(*arrays, **CASES[op].options, xx=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("op", "k"),
    [(op, k) for op in CASES for k in range(len(CASES[op].shapes)) if (op, k) != ("bce", 1)],
)
def test_complex_step(op, k):
    """Every body is analytic in every array: Im f(x + ihv) / h equals the differences."""
    rng = np.random.default_rng(1)
    arrays = arrays_of(op)
    if op != "bce" and [*CASES[op].shapes][k] != "running_var":  # targets, variances: positive
        arrays[k] = arrays[k] * rng.choice([-1.0, 1.0], arrays[k].shape)
    direction = rng.standard_normal(arrays[k].shape)

    def total(moved):
        y = run(op, [*arrays[:k], moved, *arrays[k + 1 :]])[0]
        y = np.asarray(y.total if isinstance(y, ops.Losses) else y)
        return np.sum(y * np.cos(np.arange(y.size)).reshape(y.shape))

    with sv.using("numba"):  # complex128 takes the reference body on any engine
        up, down = total(arrays[k] + 1e-6 * direction), total(arrays[k] - 1e-6 * direction)
        by_complex_step = total(arrays[k] + 1e-100j * direction).imag / 1e-100
    assert by_complex_step == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-8)


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
@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_backward_refuses_what_is_no_array(engine, op):
    """np.matrix multiplies differently, and a mask would be dropped without an error."""
    y, cache, *_ = run(op, arrays_of(op))
    backward = getattr(ops, f"{op}_backward")
    if op == "elbo":
        for dy, came in ((None, "NoneType"), ([1.0], "list"), (np.ma.masked_array(1.0), "Masked")):
            with pytest.raises(ValueError, match=f"elbo_backward: dtotal must be .* got {came}"):
                backward(dy, cache)
        with pytest.raises(ValueError, match=r"dtotal must be a number, got shape \(3,\)"):
            backward(on_device(np.ones(3)), cache)
        return
    numbers = sv.asnumpy(y)
    wrong = [numbers.tolist(), None, 1.0, np.float64(1), np.ma.masked_array(numbers)]
    if numbers.ndim == 2:
        wrong.append(np.matrix(numbers))
    for dy in wrong:
        expected = (
            f"{op}_backward: dy must be a NumPy or CuPy array like y, float64 of shape "
            f"{y.shape}; got {type(dy).__name__}"
        )
        with pytest.raises(TypeError, match=re.escape(expected)):
            backward(dy, cache)


@pytest.mark.slow
@every_op
def test_subclasses_of_arrays(engine, op, tmp_path):
    """A memory-mapped file is an ordinary array for forward and backward."""
    if engine == "cuda_on_host":
        pytest.skip("NumPy arrays are rejected")

    def mapped(a):
        file = np.memmap(tmp_path / str(len([*tmp_path.iterdir()])), a.dtype, "w+", shape=a.shape)
        file[...] = a
        return file

    def results(arrays, of_dy):
        y, cache, *_ = run(op, arrays)
        dy = 1.0 if op == "elbo" else of_dy(np.cos(np.arange(y.size)).reshape(y.shape))
        return [*(y if op == "elbo" else [y]), *as_tuple(getattr(ops, f"{op}_backward")(dy, cache))]

    expected = results(arrays_of(op), lambda dy: dy)
    for ours, theirs in zip(results(map(mapped, arrays_of(op)), mapped), expected, strict=True):
        assert type(ours) in (np.ndarray, np.float64)
        np.testing.assert_array_equal(ours, theirs)


@every_op
def test_errstate_does_no_harm(engine, op):
    """exp(-800) is 0, without an error, for every setting of the caller."""
    arrays = [np.asarray(800 * sv.asnumpy(a) - 400) for a in arrays_of(op)]
    if op == "bce":
        arrays[1] = sv.asnumpy(arrays_of(op)[1])
    if op.startswith("batch_norm"):
        arrays[2] = sv.asnumpy(arrays_of(op)[2])
    if op in ("reparameterize", "kl", "kl_free_bits"):
        arrays[1] -= 400  # a deviation of exp(-400)

    def results():
        y, cache, *_ = run(op, map(on_device, arrays))
        dy = 1e-300 if op == "elbo" else on_device(np.full(np.shape(y), 1e-300))
        gradients = as_tuple(getattr(ops, f"{op}_backward")(dy, cache))
        return [sv.asnumpy(a) for a in (*(y if op == "elbo" else [y]), *gradients)]

    expected = results()
    with np.errstate(all="raise"):
        for ours, theirs in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@every_op
def test_backward_refuses_a_foreign_cache(engine, op):
    backward = getattr(ops, f"{op}_backward")
    with pytest.raises(TypeError, match=f"{op}_backward: expected the cache of {op}_.* got tuple"):
        backward(on_device(np.ones(3)), ())
    other = "relu" if op != "relu" else "tanh"
    _, cache, *_ = run(other, arrays_of(other))
    with pytest.raises(TypeError, match=f"expected the cache of {op}_forward, got one of {other}"):
        backward(on_device(np.ones((2, 3))), cache)
