"""check: right and wrong pairs of functions, and its reports about them."""

import re

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.gradcheck import METHODS, GradientError, check

every_method = pytest.mark.parametrize("method", METHODS)


def cube(x, w):
    return w * x**3, (x, w)


def cube_backward(dy, cache):
    x, w = cache
    return dy * 3 * w * x**2, dy * x**3


def inputs():
    return tuple(np.random.default_rng(0).uniform(0.5, 1.5, (2, 3, 4)))


def linear(x, w, b):
    return x @ w.T + b, (x, w)


def linear_backward(dy, cache):
    x, w = cache
    return dy @ w, dy.T @ x, dy.sum(axis=0)


def matrices(O=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 4)), rng.standard_normal((O, 4)), rng.standard_normal(O)


def with_one_changed(k, change):
    """linear_backward with `change` applied to its k-th gradient."""

    def backward(dy, cache):
        gradients = list(linear_backward(dy, cache))
        gradients[k] = change(gradients[k])
        return gradients

    return backward


@pytest.mark.parametrize("method", ["central", "direction", "complex"])
def test_a_right_backward_passes(method):
    report = check(cube, cube_backward, *inputs(), method=method)
    assert report.passed and [result.tensor for result in report] == ["x", "w"]
    assert report.worst.error < (1e-12 if method == "complex" else 1e-8)
    compared = 3 if method == "direction" else 12
    assert all(result.compared == compared and result.skipped == 0 for result in report)


@every_method
@pytest.mark.parametrize("k", [0, 1, 2])
def test_one_wrong_element_is_found(method, k):
    def change(gradient):
        gradient = gradient.copy()
        gradient.flat[2] += 1e-3
        return gradient

    with pytest.raises(GradientError) as caught:
        check(linear, with_one_changed(k, change), *matrices(), method=method)
    (result,) = (r for r in caught.value.report if not r.passed)
    assert result.tensor == "xwb"[k] and result.verdict == "FAIL"
    assert result.where == tuple(map(int, np.unravel_index(2, result.shape)))
    assert result.analytic - result.numeric == pytest.approx(1e-3, rel=1e-3)
    if method in ("central", "complex"):
        assert result.wrong == 1 and result.compared == np.prod(result.shape)


LIES = {
    "zero": lambda dx: 0 * dx,
    "seventeen": lambda dx: 17 * dx,
    "sign": lambda dx: -dx,
    "nan": lambda dx: dx + np.nan,
    "infinity": lambda dx: dx + np.inf,
    "a millionth": lambda dx: dx * (1 + 1e-6),
}


@every_method
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("k", [0, 1, 2])
def test_lies_are_told(method, lie, k):
    report = check(linear, with_one_changed(k, LIES[lie]), *matrices(), method=method, raises=False)
    assert [result.verdict == "FAIL" for result in report] == [i == k for i in range(3)]


def test_the_message_fits_on_a_screen_and_names_the_element():
    with pytest.raises(GradientError) as caught:
        check(linear, with_one_changed(1, lambda dw: dw.T), *matrices())
    lines = str(caught.value).splitlines()
    assert lines[0] == "linear: the gradient of w, shape (4, 4), is wrong"
    assert lines[1].startswith("    at w[0, 1] backward gives -2.54623, differences give 3.16419")
    assert lines[2].startswith(
        "    12 of 16 comparisons fail; the worst relative error is 1.8 (limit 1e-07)"
    )
    assert lines[3] == "    hint: with its axes in the order (1, 0) it would be right"
    assert len(lines) == 4 and max(map(len, lines)) <= 100


def test_the_numbers_have_as_many_digits_as_tell_them_apart():
    report = check(cube, lambda dy, cache: [(1 + 3e-7) * g for g in cube_backward(dy, cache)],
                   *inputs(), raises=False)  # fmt: skip
    analytic, numeric = re.findall(r"gives? (-?[\d.]+)", report.failure())[:2]
    assert analytic != numeric


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda dw: 2 * dw, "hint: every element is 2 times the right value"),
        (lambda dw: -dw / 7, "hint: every element is -0.142857 times the right value"),
        (lambda dw: -dw, "hint: every element is -1 times the right value: is a sign wrong?"),
        (lambda dw: 0 * dw, "hint: it is zero everywhere"),
        (lambda dw: dw / 0, "hint: it contains NaN or infinity"),
        (lambda dw: dw.T, "hint: with its axes in the order (1, 0) it would be right"),
        (lambda dw: dw**2, ""),
    ],
)
def test_hints(change, hint):
    with np.errstate(divide="ignore"):
        report = check(linear, with_one_changed(1, change), *matrices(), raises=False)
    assert report["w"].hint == hint


def test_other_failures_are_named_too():
    def twice(dy, cache):
        return [2 * g for g in linear_backward(dy, cache)]

    report = check(linear, twice, *matrices(), raises=False)
    others = {"x", "w", "b"} - {report.worst.tensor}
    last = report.failure().splitlines()[-1]
    assert last.startswith("    not confirmed either: ") and all(n in last for n in others)


def test_the_table():
    table = str(check(cube, cube_backward, *inputs())).splitlines()
    assert table[0] == "cube: central differences"
    assert table[1].split()[:4] == ["gradient", "of", "shape", "compared"]
    assert table[3].split()[:3] == ["x", "(3,", "4)"] and table[3].endswith("ok")
    table = str(check(cube, cube_backward, *inputs(), method="complex")).splitlines()
    assert "kinks" not in table[1] and "rounding" not in table[1]  # it has neither


def test_only_some_inputs():
    wrong = with_one_changed(0, lambda dx: 2 * dx)
    assert [r.tensor for r in check(linear, wrong, *matrices(), only=["b", "w"])] == ["b", "w"]


def test_samples_instead_of_every_element():
    """The largest, some random ones and a direction, which finds a single wrong element."""
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((3, 40)), rng.standard_normal((50, 40)), np.zeros(50)
    report = check(linear, linear_backward, x, w, b, samples=2)
    assert all(result.compared <= 4 for result in report) and report.passed

    def wrong(dy, cache):
        dx, dw, db = linear_backward(dy, cache)
        dw[17, 23] += 1
        return dx, dw, db

    for method in ("central", "complex"):
        report = check(linear, wrong, x, w, b, samples=2, method=method, raises=False)
        assert report["w"].where == (17, 23) and report["w"].verdict == "FAIL"


def test_float32_is_held_against_float64():
    seen = []

    def forward(x, w, b):
        seen.append(str(x.dtype))
        return linear(x, w, b)

    report = check(forward, linear_backward, *matrices(), dtype="float32")
    assert 1e-9 < report.worst.error < 1e-6 and report.worst.limit == 2e-5
    assert seen[0] == "float32" and seen.count("float64") > 40 > seen.count("float32")
    wrong = with_one_changed(0, lambda dx: dx * np.float32(1.001))
    assert not check(linear, wrong, *matrices(), dtype="float32", raises=False).passed


def test_nothing_that_is_given_changes():
    """Inputs may be read-only, and forward may keep its arguments."""
    given = matrices()
    for a in given:
        a.flags.writeable = False
    for method in METHODS:
        check(linear, linear_backward, *given, method=method)


def test_the_same_seed_tells_the_same():
    reports = [check(cube, cube_backward, *inputs(), method="direction", seed=s) for s in (1, 1, 2)]
    assert reports[0].results == reports[1].results != reports[2].results


def test_scalars_and_losses():
    check(lambda x: ((x**2).sum(), x), lambda dy, x: 2 * dy * x, np.arange(1.0, 4.0))
    for method in ("central", "direction", "complex"):
        for x in (np.array(0.3), np.float64(0.3)):
            check(sv.ops.tanh_forward, sv.ops.tanh_backward, x, method=method)
    check(lambda r, k: sv.ops.elbo_forward(r, k, 2.0), sv.ops.elbo_backward, *np.ones((2, 3)))


def test_none_is_not_checked():
    """pytorch#4355: the table leaves None out, and the check passes."""

    def forgetful(dy, cache):
        return None, cube_backward(dy, cache)[1]

    report = check(cube, forgetful, *inputs(), raises=False)
    assert [r.verdict for r in report] == ["not checked", "ok"] and not report.passed
    assert "x" in str(report) and "not checked" in str(report)
    with pytest.raises(
        GradientError, match=r"the gradient of x is not checked: backward gave None"
    ) as caught:
        check(cube, forgetful, *inputs())
    assert "without_gradient=[...]" in str(caught.value)
    report = check(cube, forgetful, *inputs(), without_gradient=("x",))
    assert [r.tensor for r in report] == ["w"] and report.passed
    check(cube, lambda dy, cache: cube_backward(dy, cache)[1], *inputs(), without_gradient=["x"])
    assert check(cube, forgetful, *inputs(), only=["w"]).passed


def test_names_come_from_the_forward():
    assert [r.tensor for r in check(lambda *a: cube(*a), cube_backward, *inputs())] == [
        "input 0", "input 1",
    ]  # fmt: skip
    report = check(lambda x, w, b, stride=1: linear(x, w, b), linear_backward, *matrices())
    assert report.subject == "forward" and [r.tensor for r in report] == ["x", "w", "b"]


def test_dy_is_not_x():
    """x is often drawn from default_rng(0); dy must then be different numbers."""
    x, seen = np.random.default_rng(0).standard_normal((4, 5)), []

    def backward(dy, cache):
        seen.append(dy)
        return 2 * dy

    check(lambda x: (2 * x, None), backward, x)
    assert abs(np.corrcoef(seen[0].ravel(), x.ravel())[0, 1]) < 0.6


def test_arrays_go_where_the_engine_computes(engine):
    """The functions under test get only arrays of the engine; their results are copied back."""
    seen = []

    def forward(x, w):
        seen.extend(map(type, (x, w)))
        return cube(x, w)

    def backward(dy, cache):
        seen.append(type(dy))
        return cube_backward(dy, cache)

    for method in ("central", "direction", "complex"):
        assert check(forward, backward, *inputs(), method=method).passed
    assert set(seen) == {type(sv.asarray(0.0))}
