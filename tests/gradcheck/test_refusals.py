"""Arguments that check rejects, and its error messages."""

import numpy as np
import pytest

from scratchvae.gradcheck import NotAnalytic, NotLinear, check

ONES = np.ones((2, 3))


def identity(x):
    return x, None


def passed_on(dy, cache):
    return dy


def test_a_missing_gradient():
    with pytest.raises(
        ValueError,
        match=r"check: 2 inputs \(x, w\) need as many gradients, backward returned an array",
    ):
        check(lambda x, w: (w * x, None), passed_on, ONES, ONES)


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (np.ones(3), r"\(3,\) of float64"),
        (1.0, r"\(\) of float64"),
        (ONES.T, r"\(3, 2\) of float64 \(its transpose would fit\)"),
        (1j * ONES, r"\(2, 3\) of complex128"),
    ],
)
def test_gradients_of_the_wrong_shape(came, said):
    with pytest.raises(
        ValueError,
        match=rf"the gradient of x must have its shape \(2, 3\) and real numbers, got {said}",
    ):
        check(identity, lambda dy, cache: came, ONES)


def test_nothing_to_check():
    with pytest.raises(ValueError, match="check: nothing to check, backward returned NoneType"):
        check(identity, lambda dy, cache: None, ONES)


@pytest.mark.parametrize("x", [np.ones(3, "float32"), np.ones(3, int), [1.0], 1.0])
def test_inputs_must_be_float64_arrays(x):
    with pytest.raises(
        TypeError, match="check: input 0 must be a float64 array, and not empty, got"
    ):
        check(identity, passed_on, x)


def test_forward_must_return_a_cache():
    with pytest.raises(TypeError, match=r"check: forward must return \(y, cache\), got an array"):
        check(lambda x: 2 * x, lambda dy, cache: 2 * dy, np.ones(3))


@pytest.mark.parametrize("h", [0.0, -1e-6, np.nan, np.inf])
def test_steps_that_are_none(h):
    with pytest.raises(ValueError, match="check: h must be a number above 0, got"):
        check(identity, passed_on, ONES, h=h)


def test_unknown_methods():
    with pytest.raises(
        ValueError, match="method must be one of central, direction, complex, adjoint; got 'both'"
    ):
        check(identity, passed_on, ONES, method="both")


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
    x = np.random.default_rng(0).standard_normal((3, 4))
    forward = NOT_ANALYTIC[name]
    with pytest.raises(NotAnalytic, match="forward is not analytic in x: .* differences give"):
        check(lambda x: (forward(x), x), lambda dy, x: x, x, method="complex")


@pytest.mark.parametrize("forward", [lambda x: np.logaddexp(x, 0), lambda x: np.float64(x.sum())])
def test_the_complex_step_refuses_what_takes_no_complex_numbers(forward):
    with pytest.raises(NotAnalytic, match="forward does not accept complex numbers for x"):
        check(lambda x: (forward(x), x), lambda dy, x: x, ONES, method="complex")


@pytest.mark.parametrize(
    "forward", [np.tanh, np.abs, lambda x: np.maximum(x, 0), lambda x: x * x[0]]
)
def test_adjointness_refuses_what_is_not_linear(forward):
    x = np.random.default_rng(0).standard_normal((3, 4))
    with pytest.raises(NotLinear, match=r"not linear in x: f\(u \+ 2v\) and f\(u\) \+ 2 f\(v\)"):
        check(lambda x: (forward(x), x), lambda dy, x: x, x, method="adjoint")


def test_an_affine_function_is_linear_enough():
    def affine(constant):
        return lambda x: (3 * x + constant, None)

    def right(dy, _):
        return 3 * dy

    assert check(affine(1), right, ONES, method="adjoint").passed
    report = check(affine(1e6), right, ONES, method="adjoint", raises=False)
    assert report["x"].verdict == "unseen"  # the constant uses six of the 16 digits
