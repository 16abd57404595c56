"""Kinks and rounding: what is skipped, what is undecided, and what is wrong anyway."""

import numpy as np
import pytest

from scratchvae.gradcheck import GradientError, check, tensor_error


def relu(x):
    return np.maximum(x, 0), x


def relu_backward(dy, x):
    return dy * (x > 0)


NEAR = np.array([0.0, 1e-9, -3e-10, 2e-8, 1.0, -2.0, 0.3])


def test_elements_at_a_kink_are_left_out_and_counted():
    result = check(relu, relu_backward, NEAR)["x"]
    assert (result.skipped, result.compared, result.verdict) == (3, 4, "ok")


def test_a_shorter_step_stays_clear_of_the_kink():
    result = check(relu, relu_backward, np.array([1e-7, -1e-7, 1.0]))["x"]
    assert (result.skipped, result.compared, result.verdict) == (0, 3, "ok")


@pytest.mark.parametrize("distance", [0.0, 1e-3, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 0.9, 0.999])
def test_kinks_anywhere_within_the_step(distance):
    """Also if halving the step halves the kink's effect by chance. h is large, so that a hundredth
    of it is still large, and the ramp has a slope on both sides."""
    h = 1e-3
    x = np.array([distance * h / 100, 5.0])

    def ramp(x):
        return np.where(x > 0, 2 * x, -x), x

    result = check(ramp, lambda dy, x: dy * np.where(x > 0, 2, -1), x, h=h)["x"]
    assert result.verdict == "ok" and result.compared + result.skipped == 2


def test_max_pooling_with_a_tie():
    """The winner changes between x - h and x + h."""

    def row_max(x):
        return x.max(axis=1), x

    def backward(dy, x):
        return dy[:, None] * (np.arange(x.shape[1]) == x.argmax(axis=1)[:, None])

    x = np.array([[1.0, 1.0, 0.0], [0.5, 2.0, 1.0]])
    result = check(row_max, backward, x)["x"]
    assert (result.skipped, result.compared, result.verdict) == (2, 4, "ok")


def test_a_kink_excuses_no_more_than_its_own_size():
    """At the kink any slope between 0 and 1 is acceptable, but not 5."""
    with pytest.raises(GradientError, match=r"at x\[0\] backward gives") as caught:
        check(relu, lambda dy, x: dy * np.where(x == 0, 5, x > 0), NEAR)
    assert caught.value.report["x"].verdict == "FAIL"


def test_a_wrong_mask_is_wrong_beside_kinks():
    with pytest.raises(GradientError) as caught:
        check(relu, lambda dy, x: dy * (x < 0), NEAR)
    result = caught.value.report["x"]
    assert result.verdict == "FAIL" and result.where[0] in (4, 5, 6)


def test_all_at_a_kink_shows_nothing():
    with pytest.raises(GradientError) as caught:
        check(relu, relu_backward, np.zeros(3))
    assert str(caught.value).splitlines() == [
        "relu: the gradient of x could not be checked",
        "    the step crosses a kink in 3 comparisons: move the inputs away from it",
    ]


def test_a_smooth_bend_is_no_kink():
    """Strong curvature, and a gradient that is wrong by the error of one-sided differences."""
    x, h = np.random.default_rng(0).standard_normal(5), 1e-4

    def sine(x):
        return np.sin(30 * x), x

    assert check(sine, lambda dy, x: dy * 30 * np.cos(30 * x), x, h=1e-6).passed

    def one_sided(dy, x):
        return dy * (np.sin(30 * (x + h)) - np.sin(30 * x)) / h

    assert check(sine, one_sided, x, h=h, raises=False)["x"].skipped == 0


def test_lost_in_rounding_is_not_shown():
    """1e12 + x: differences give three digits of the slope, the complex step all of them."""

    def far(x):
        return 1e12 + x * x, x

    x = np.array([1.0, 2.0])
    with pytest.raises(GradientError, match="too uncertain .*\n.* try another h, or method='c"):
        check(far, lambda dy, x: 2 * dy * x, x)
    assert check(far, lambda dy, x: 2 * dy * x, x, raises=False)["x"].verdict == "unseen"
    assert check(far, lambda dy, x: 2 * dy * x, x, method="complex").passed
    assert check(far, lambda dy, x: 9e3 * dy, x, raises=False)["x"].verdict == "FAIL"


def test_zero_is_zero_only_if_both_sides_are():
    def first(x, w):
        return 2 * x + 0 * w, None

    def backward(dy, _):
        return 2 * dy, 0 * dy

    x = np.ones(3)
    for method in ("central", "complex", "direction", "adjoint"):
        report = check(first, backward, x, x, method=method)
        assert [r.verdict for r in report] == ["ok", "zero"] and report.zeros == ["w"]
        lost = check(first, lambda dy, _: (0 * dy, 0 * dy), x, x, method=method, raises=False)
        assert lost["x"].verdict == "FAIL" and lost["x"].error == pytest.approx(1)


@pytest.mark.parametrize("constant", [1e10, 1e16])
def test_zero_is_not_what_rounding_hides(constant):
    def far(x, w):
        return x + (constant + w), None

    report = check(far, lambda dy, _: (dy, 0 * dy), *np.ones((2, 3)), raises=False)
    assert report["w"].verdict == "unseen"


def test_a_small_gradient_is_not_zero():
    """Errors are relative to the gradient's own size, even next to one that is 1e9 times larger."""

    def forward(x, w):
        return x + 1e-9 * w, None

    pair = forward, lambda dy, _: (dy, 0 * dy)
    report = check(*pair, *np.ones((2, 3)), method="complex", raises=False)
    assert [r.verdict for r in report] == ["ok", "FAIL"]


@pytest.mark.parametrize("side", [0, 1])
def test_error_is_relative_to_the_largest_element(side):
    """`max` and `<=` ignore a NaN, so the error must be infinite."""
    assert tensor_error(np.array([100.0, 1e-9]), np.array([100.0, 0.0])) == pytest.approx(1e-11)
    assert tensor_error(np.zeros(2), np.array([0.0, 3.0])) == 1
    assert tensor_error(np.zeros(2), np.zeros(2)) == 0
    pair = [np.ones(3), np.ones(3)]
    for bad in (np.nan, np.inf):
        pair[side][1] = bad
        assert tensor_error(*pair) == np.inf
