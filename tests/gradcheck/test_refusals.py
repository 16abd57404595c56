"""Functions, arguments and results that the checks refuse, and their messages."""

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.gradcheck import (
    GradientError,
    NotAnalytic,
    NotLinear,
    check,
    check_layer,
    check_model,
    check_op,
)

X = np.random.default_rng(0).standard_normal((3, 4))
ONES = np.ones((2, 3))


def identity(x):
    return x, None


def square(x):
    return x**2, x


def square_backward(dy, x):
    return 2 * x * dy


def passed_on(dy, cache):
    return dy


def with_options(**options):
    return lambda: check(identity, passed_on, X, **options)


def with_input(x):
    return lambda: check(identity, passed_on, x)


def with_y(y, *rest):
    return lambda: check(lambda x: (y(x), *rest), passed_on, X)


def with_gradient(g):
    return lambda: check(identity, lambda dy, cache: g, ONES)


def masked(a):
    return np.ma.masked_array(a, a > 0)


class Silent(sv.layers.Linear):
    def backward(self, dy, need_dx=True):
        super().backward(dy)  # and no return


def in_place(x):
    return np.maximum(x, 0, out=x), None


def log(x):
    with np.errstate(invalid="ignore"):
        return np.log(x), x


def dropout(x, rng=np.random.default_rng(0)):  # noqa: B008  (its state must change)
    mask = rng.random(x.shape) < 0.5
    return x * mask, mask


def changes_its_cache(dy, x):  # which may be the caller's own x
    x *= 2
    return dy * x


def two(x, w):
    return w * x, None


LAYER = Silent(4, 3, rng=np.random.default_rng(0), dtype="float64")
SAMPLE = sv.layers.Reparameterize()
INPUT = "input 0 must be a float64 array, and not empty, got "
SHAPE = r"the gradient of x must have its shape \(2, 3\) and real numbers, got "
SAMPLES = "samples must be an int of at least 0 or 'all', got "

REFUSED = {
    "a method": (with_options(method="both"), "one of central, direction, complex, adjoint; got"),
    "a dtype": (with_options(dtype="float16"), "dtype must be 'float64' or 'float32', got 'flo"),
    "less than no samples": (with_options(samples=-1), SAMPLES + "-1"),
    "half a sample": (with_options(samples=2.5), SAMPLES + "2.5"),
    "an infinite tolerance": (with_options(tolerance=np.inf), "tolerance .* above 0, got inf"),
    "no tolerance": (with_options(tolerance=0), "tolerance must be a number above 0, got 0"),
    "atol below 0": (with_options(atol=-1), "atol must be a number of at least 0, got -1"),
    "h: text": (with_options(h="a"), "h must be a number above 0, got 'a'"),
    "h: zero": (with_options(h=0.0), "h must be a number above 0, got 0.0"),
    "h: below zero": (with_options(h=-1e-6), "h must be a number above 0, got -1e-06"),
    "h: NaN": (with_options(h=np.nan), "h must be a number above 0, got nan"),
    "h: infinite": (with_options(h=np.inf), "h must be a number above 0, got inf"),
    "only: unknown": (with_options(only="weight"), "identity: cannot check weight; choose from x"),
    "only: a number": (with_options(only=[0]), "cannot check 0; choose from x"),
    "only: nothing": (with_options(only=[]), "cannot check nothing; choose from x"),
    "without_gradient": (
        with_options(without_gradient=["alpha"]),
        "check: no input is called alpha; choose from .'x'",
    ),
    "type of x: float32": (with_input(np.ones(3, "float32")), INPUT + "an array of float32"),
    "type of x: int": (with_input(np.ones(3, int)), INPUT + "an array of int64"),
    "type of x: a list": (with_input([1.0]), INPUT + r"list; use np.asarray\(x, 'float64'\)"),
    "type of x: a number": (with_input(1.0), INPUT + "float"),
    "type of x: masked": (with_input(masked(X)), INPUT + "MaskedArray"),
    "type of x: a matrix": (with_input(X.view(np.matrix)), INPUT + "matrix"),
    "type of x: empty": (with_input(np.zeros((0, 3))), INPUT + "an empty array of float64"),
    "x: infinite": (with_input(np.array([1.0, np.inf])), "input 0 contains NaN or infinity"),
    **{  # in float32 a step of 1e-6 is lost, and would agree with a gradient of zero
        f"type of y: {dtype}": (
            with_y(lambda x, dtype=dtype: (5 * x + 50).astype(dtype), None),
            f"must return .* got y of {dtype}|y of floats, got {dtype}",
        )
        for dtype in ("float32", "float16", "complex128", "int64", "bool")
    },
    "type of y: empty": (with_y(lambda x: x[:0], None), r"floats, got float64 of shape \(0, 4\)"),
    "type of y: masked": (with_y(masked, None), "y of .* must be a plain array, got MaskedArray"),
    "y: NaN": (
        lambda: check(log, lambda dy, x: dy / x, np.array([1.0, -1.0])),
        "log returns NaN or infinity: choose other inputs",
    ),
    "y: another shape": (
        lambda: check(lambda x: (x[x > 0], None), lambda dy, _: X, 1e-9 * (X > 0) - 5e-10),
        "check: the shape of y changes with x",
    ),
    "y: other noise": (
        lambda: check(dropout, lambda dy, mask: dy * mask, X),
        "dropout returns another y each time: draw its noise first",
    ),
    "type of the result": (
        lambda: check(lambda x: 2 * x, passed_on, X),
        r"check: forward must return \(y, cache\), got an array",
    ),
    "x changes": (lambda: check(in_place, passed_on, X), "in_place changes its input x in place"),
    "the cache changes": (
        lambda: check(square, changes_its_cache, X), "check: backward changes the input x in place",
    ),
    "a missing gradient": (
        lambda: check(two, passed_on, ONES, ONES),
        r"check: 2 inputs \(x, w\) need as many gradients, backward returned an array",
    ),
    "dx: another shape": (with_gradient(np.ones(3)), SHAPE + r"\(3,\) of float64"),
    "dx: a number": (with_gradient(1.0), SHAPE + r"\(\) of float64"),
    "dx: its transpose": (with_gradient(ONES.T), SHAPE + r"\(3, 2\) .* \(its transpose would fit"),
    "dx: complex": (with_gradient(1j * ONES), SHAPE + r"\(2, 3\) of complex128"),
    "type of dx: masked": (with_gradient(masked(ONES)), "gradient of x must be a plain array"),
    "dx: None": (with_gradient(None), "check: nothing to check, backward returned NoneType"),
    "op: unknown": (
        lambda: check_op("conv3d"),
        f"check_op: unknown op 'conv3d'; choose from {', '.join(sv.ops.CASES)}$",
    ),
    "layer: None": (lambda: check_layer(LAYER, X), "nothing to check, backward returned NoneType"),
    "layer: few gradients": (
        lambda: check_layer(SAMPLE, X, X, X), "check: 3 inputs .* need as many gradients",
    ),
    "type of layer: few inputs": (
        lambda: check_layer(SAMPLE, X),
        "check_layer: Reparameterize.forward takes mu, logvar, eps; got 1 inputs",
    ),
    "layer: unknown input": (
        lambda: check_layer(SAMPLE, X, X, X, without_gradient=["noise"]),
        "check: no input is called noise",
    ),
    "type of layer: a function": (
        lambda: check_layer(square, X), "check_layer: layer must be a Module, got function",
    ),
    "type of layer: a model": (
        lambda: check_layer(sv.models.build("mlp"), X),
        "check_layer: a model has its own loss; use check_mo",
    ),
    "type of model: a layer": (
        lambda: check_model(LAYER, X, X), "check_model: model must be a Model, got Silent",
    ),
    "model: adjoint": (
        lambda: check_model(sv.models.build("mlp"), X, X, method="adjoint"),
        "check_model: a loss is not linear; use 'complex'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what):
    call, said = REFUSED[what]
    with pytest.raises(TypeError if what.startswith("type of") else ValueError, match=said):
        call()


NOT_ANALYTIC = {
    "abs": np.abs,
    "var": lambda x: x.var(axis=0),
    "norm": lambda x: np.linalg.norm(x, axis=1),
    "real": lambda x: x.real**2,
    "conj": lambda x: np.conj(x) * x,
}


@pytest.mark.parametrize("name", NOT_ANALYTIC)
def test_the_complex_step_refuses_what_is_not_analytic(name):
    """For complex input these give wrong numbers, without an error from NumPy."""
    forward = NOT_ANALYTIC[name]
    with pytest.raises(NotAnalytic, match="forward is not analytic in x: .* differences give"):
        check(lambda x: (forward(x), x), lambda dy, x: x, X, method="complex")


@pytest.mark.parametrize("forward", [lambda x: np.logaddexp(x, 0), lambda x: np.float64(x.sum())])
def test_the_complex_step_refuses_what_takes_no_complex_numbers(forward):
    with pytest.raises(NotAnalytic, match="forward does not accept complex numbers for x"):
        check(lambda x: (forward(x), x), lambda dy, x: x, ONES, method="complex")


@pytest.mark.parametrize(
    "forward",
    [np.tanh, np.abs, lambda x: np.maximum(x, 0), lambda x: x * x[0], lambda x: np.clip(x, -9, 9)],
)
def test_adjointness_refuses_what_is_not_linear(forward):
    """The last one is linear near zero."""
    with pytest.raises(NotLinear, match=r"not linear in x: f\(u \+ 2v\) and f\(u\) \+ 2 f\(v\)"):
        check(lambda x: (forward(x), x), lambda dy, x: x, 10 * X, method="adjoint")


def test_an_affine_function_is_linear_enough():
    def verdict(constant):
        report = check(
            lambda x: (3 * x + constant, None), lambda dy, _: 3 * dy, ONES, method="adjoint",
            raises=False,
        )  # fmt: skip
        return report["x"].verdict

    assert verdict(1) == "ok"
    assert verdict(1e6) == "unseen"  # the constant uses six of the 16 digits


def test_none_is_refused_at_a_second_call_too():
    calls = []

    def backward(dy, x):
        calls.append(1)
        return 2 * dy if len(calls) == 1 else None

    with pytest.raises((GradientError, ValueError)):
        check(lambda x: (2 * x, x), backward, np.ones(3))
