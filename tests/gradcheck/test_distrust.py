"""Functions that a student may write and that a careless check judges wrongly. Each of them once
passed or failed in error."""

import copy
import pickle

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.gradcheck import (
    GradientError,
    NotAnalytic,
    check,
    check_layer,
    check_model,
)

X = np.random.default_rng(0).standard_normal((3, 4))
W = np.random.default_rng(1).standard_normal((4, 4))


def verdict(forward, backward, *inputs, **options):
    """The verdict for the first input."""
    return check(forward, backward, *inputs, raises=False, **options)[0].verdict


def test_seventeen_times_the_gradient_of_a_batch_norm():
    """For dy = 1 the gradient is zero, so a wrong factor has no effect."""
    w, b, mean, var = np.random.default_rng(0).uniform(0.5, 2, (4, 3))
    x = np.random.default_rng(1).standard_normal((6, 3))

    def forward(x):
        return sv.ops.batch_norm_forward(x, mean, var, w, b, True)

    assert verdict(forward, lambda dy, cache: sv.ops.batch_norm_backward(dy, cache)[0], x) == "ok"
    wrong = verdict(forward, lambda dy, cache: 17 * sv.ops.batch_norm_backward(dy, cache)[0], x)
    assert wrong == "FAIL"


def test_a_backward_that_changes_dy_is_refused():
    """A common mistake in residual blocks: dh = dy; dh[h <= 0] = 0. A check that goes on with this
    dy finds no error."""

    def residual(x, w):
        h = x @ w
        return x + np.maximum(h, 0), (x, w, h)

    def backward(dy, cache):
        x, w, h = cache
        dh = dy
        dh[h <= 0] = 0
        return dy + dh @ w.T, x.T @ dh

    with pytest.raises(ValueError, match="check: backward changes dy in place"):
        check(residual, backward, X, W)


def test_a_forward_that_always_returns_the_same_memory():
    buffer = np.zeros_like(X)

    def square(x):
        return np.multiply(x, x, out=buffer), x.copy()

    assert verdict(square, lambda dy, x: 2 * x * dy, X) == "ok"
    assert verdict(square, lambda dy, x: 0 * dy, X) == "FAIL"


def test_nothing_asked_is_nothing_shown():
    assert not sv.gradcheck.Report("nothing", "central", []).passed


@pytest.mark.parametrize(("weight", "constant"), [(1e-1, 0), (1e-3, 0), (1e-4, 0), (1e-4, 1e4)])
def test_a_small_part_that_is_not_analytic(weight, constant):
    """An L1 term, missing in backward, next to a larger term: the complex step misses abs too."""

    def penalised(w):
        return ((X @ w.T) ** 2).sum() / 2 + weight * np.abs(w).sum() + constant, w

    def forgotten(dy, w):
        return dy * ((X @ w.T).T @ X)

    with pytest.raises(NotAnalytic):
        check(penalised, forgotten, W, method="complex")
    if not constant:

        def right(dy, w):
            return forgotten(dy, w) + dy * weight * np.sign(w)

        assert verdict(penalised, forgotten, W) == "FAIL"
        assert verdict(penalised, right, W) == "ok"


def test_a_model_with_a_loss_of_its_own():
    class Sparse(sv.models.MLP):
        def loss(self, x, eps, keep=True):
            losses = super().loss(x, eps, keep)
            return losses._replace(total=losses.total + abs(self.fc1.weight.value).sum())

    rng = np.random.default_rng(0)
    model = Sparse(image_shape=(1, 3, 3), latent_dim=2, rng=rng, dtype="float64")
    with pytest.raises(NotAnalytic, match="Sparse is not analytic in fc1.weight"):
        check_model(model, rng.random((2, 1, 3, 3)), model.noise(2, rng))


@pytest.mark.parametrize("method", ["central", "direction"])
def test_zero_does_not_agree_with_what_rounding_has_taken(method):
    """The outputs do not change at a shorter step, which agrees with a gradient of zero."""
    slopes = (1e-5, 1e-12, 1e-9, 4e-9, 1e-8, 2e-8)
    forwards = [lambda x, slope=slope: (1.5 + slope * x.sum(), None) for slope in slopes]
    forwards += [lambda x, large=large: (x + large, None) for large in (1e3, 1e6, 1e10)]
    for k, forward in enumerate(forwards):
        zero = verdict(forward, lambda dy, _: 0 * X, X, method=method)
        assert zero in ("FAIL", "unseen"), k
    with pytest.raises(ValueError, match="h = 1e-17 is too small for the values of x: choose a l"):
        check(forward, lambda dy, _: 0 * dy, X, method=method, h=1e-17)


@pytest.mark.parametrize("method", ["central", "complex", "direction", "adjoint"])
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_sizes_whose_squares_are_no_numbers(method, scale):
    def forward(x):
        return scale * x, None

    assert verdict(forward, lambda dy, _: scale * dy, X, method=method) == "ok"
    assert verdict(forward, lambda dy, _: 2 * scale * dy, X, method=method) == "FAIL"


def test_large_inputs_move_in_proportion():
    x = np.array([1e11, -3e11, 2e11])
    assert verdict(lambda x: (np.log(abs(x)), x), lambda dy, x: dy / x, x) == "ok"
    assert verdict(lambda x: (np.log(abs(x)), x), lambda dy, x: dy / x * [1.01, 1, 1], x) == "FAIL"


def test_nan_from_the_forward_is_no_agreement():
    def root(x):
        with np.errstate(invalid="ignore"):
            return np.sqrt(x) * np.array([0, 1.0]), x

    assert verdict(root, lambda dy, x: 0 * dy, np.array([1.0, 0.0])) not in ("ok", "zero", "kinks")


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.3])
def test_a_curve_on_the_scale_of_the_step_is_no_kink(factor):
    x = np.array([1.0, 2.0, 2e-6])
    assert verdict(lambda x: (np.log(x), x), lambda dy, x: dy / x, x) in ("ok", "unseen")
    wrong = np.array([1, 1, factor])
    assert verdict(lambda x: (np.log(x), x), lambda dy, x: dy / x * wrong, x) == "FAIL"


def test_a_direction_lost_to_a_kink_is_missed():
    """With samples, only the direction covers every element."""
    x = np.random.default_rng(0).standard_normal((10, 10))
    x[0, 0] = 0

    def backward(dy, x):
        return dy * (x > 0)

    def relu(x):
        return np.maximum(x, 0), x

    assert verdict(relu, backward, x, samples=4) == "kinks"
    assert verdict(relu, backward, x) == "ok"


@pytest.mark.parametrize("mean", [100, 1000])
def test_cancellation_inside_is_not_called_wrong(mean):
    """E[x^2] - E[x]^2 loses more digits than the rounding of y shows."""

    def variance(x):
        return (x**2).mean(axis=1) - x.mean(axis=1) ** 2, x

    def backward(dy, x):
        return dy[:, None] * 2 / x.shape[1] * (x - x.mean(axis=1, keepdims=True))

    for seed in range(10):
        x = mean + np.random.default_rng(seed).standard_normal((8, 16))
        assert verdict(variance, backward, x, seed=seed) in ("ok", "unseen")


def test_the_complex_step_at_a_kink_itself():
    x = X.copy()
    x[1, 2] = 0
    report = check(lambda x: (np.maximum(x, 0), x), lambda dy, x: dy * (x > 0), x, raises=False)
    assert report["x"].skipped == 1 and report.passed
    heaviside = (lambda x: (np.where(x.real >= 0, x, 0), x), lambda dy, x: dy * (x > 0))
    try:
        report = check(*heaviside, x, method="complex", raises=False)
    except NotAnalytic:
        return  # the report says that the kink prevents the test of analyticity
    assert report["x"].verdict == "ok" and report["x"].skipped == 1


class Named(sv.layers.Linear):
    """A layer whose input has the name of one of its parameters."""

    def forward(self, bias, keep=True):
        return super().forward(bias, keep)


class Tied(sv.module.Module):
    """One weight under two names."""

    def __init__(self, rng):
        self.first = sv.layers.Linear(4, 4, rng=rng, dtype="float64")
        self.second = sv.layers.Tanh()
        self.again = self.first.weight

    def forward(self, x, keep=True):
        return self.second.forward(self.first.forward(x, keep), keep)

    def backward(self, dy):
        return self.first.backward(self.second.backward(dy))


def test_odd_layers():
    rng = np.random.default_rng(0)
    report = check_layer(Named(4, 3, rng=rng, dtype="float64"), X)
    assert [r.tensor for r in report] == ["bias (input)", "weight", "bias"]
    report = check_layer(Tied(rng), X)
    assert [r.tensor for r in report] == ["x", "again", "first.bias"]


def test_a_hint_is_only_given_where_it_is_one():
    def off_at_one(dy, x):
        dx = 2 * x * dy
        dx[1, 2] += 3e-6
        return dx

    report = check(lambda x: (x**2, x), off_at_one, X, raises=False)
    assert report["x"].wrong == 1 and report["x"].hint == ""
    report = check(lambda x: (x**2, x), lambda dy, x: 2.000002 * x * dy, X, raises=False)
    assert report["x"].hint.startswith("hint: every element is 1.00000")


def test_the_error_can_be_copied_and_sent():
    with pytest.raises(GradientError) as caught:
        check(lambda x: (x, None), lambda dy, _: 2 * dy, X)
    for again in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert str(again) == str(caught.value)


@pytest.mark.slow
def test_biases_before_a_batch_norm_in_float32():
    """Zero up to float32 rounding, which over few pixels is a millionth of the largest."""
    for seed in range(2):
        model = sv.models.build("celeba", latent_dim=8, image_shape=(3, 32, 32), seed=seed)
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, (2, 3, 32, 32)).astype("float32")
        names = [f"{half}.{i}.0.bias" for half in ("encoder", "decoder") for i in range(5)]
        report = check_model(model, x, model.noise(2, rng), samples=0, only=names)
        assert report.zeros == names


@pytest.mark.parametrize("constant", [1e3, 1e5])
def test_rounding_is_no_kink_to_the_complex_step(constant):
    """With a large constant, differences are so inexact that they look like a kink."""
    for seed in range(10):
        x = np.random.default_rng(seed).standard_normal((3, 4))
        wrong = np.zeros_like(x)
        wrong[1, 2] = 1e-11 * constant
        pair = (lambda x: (x**2 + constant, x), lambda dy, x, wrong=wrong: 2 * x * dy + wrong)
        result = check(*pair, x, method="complex", seed=seed, raises=False)["x"]
        assert result.verdict == "FAIL" and result.skipped == 0


def test_a_gradient_too_small_for_a_short_step():
    """A longer step sees it: 6e-8 next to 1, in a sum of 30."""

    def forward(a, b):
        return a.sum() + 6e-8 * b.sum() + 30, None

    a, b = np.ones(3), np.array([0.1, 0.2, 0.3])
    report = check(forward, lambda dy, _: (dy * np.ones(3), 0 * b), a, b, raises=False)
    assert [r.verdict for r in report] != ["ok", "zero"] and not report.passed


def test_noise_in_one_output_is_no_kink():
    def forward(x):
        return np.concatenate([3 * x[:5], (3 * x[5:] + 1e5) - 1e5]), x

    for seed in range(10):
        x = np.random.default_rng(seed).standard_normal(8)
        wrong = np.ones(8)
        wrong[5] += 3e-5
        assert verdict(forward, lambda dy, x, w=wrong: 3 * dy * w, x, seed=seed) != "ok"


@pytest.mark.parametrize("x", [[1.0, 1e-9], [1.0, 1e-7]])
def test_a_function_that_ends_within_the_step(x):
    def root(x):
        with np.errstate(invalid="ignore"):
            return np.sqrt(x), x

    assert verdict(root, lambda dy, x: dy / 2 / np.sqrt(x), np.array(x)) in ("ok", "unseen")


def test_a_fast_wave_on_a_large_constant():
    """The truncation error is large, but rounding does not allow shorter steps."""
    x = np.array([0.3, 0.4, 0.5])
    for constant in (1e4, 3e4, 1e5, 2e5):

        def wave(x, c=constant):
            return np.sin(1500 * x) + c, x

        slope = verdict(wave, lambda dy, x: dy * 1500 * np.cos(1500 * x), x)
        assert slope in ("ok", "unseen"), constant
