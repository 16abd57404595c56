"""Rules for every backward, independent of its forward. Each mistake here passed a check with one
dy and one call."""

import sys

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.gradcheck import GradientError, check, check_layer, check_model, check_op
from scratchvae.ops import CASES

rng = np.random.default_rng(0)
X, W = rng.standard_normal((3, 4)), rng.standard_normal((4, 4))


def square(x):
    return x**2, x


def square_backward(dy, x):
    return 2 * x * dy


def from_the_second_call_on():
    calls = []

    def backward(dy, x):
        calls.append(1)
        return square_backward(dy, x) * min(len(calls), 2)

    return square, backward, X


def never_reset():
    """pytorch#13818: dw is added to what it was."""
    dw = np.zeros_like(W)

    def backward(dy, cache):
        nonlocal dw
        dw = dw + cache[0].T @ dy
        return dy @ cache[1].T, dw

    return lambda x, w: (x @ w, (x, w)), backward, X, W


def in_its_cache():
    return lambda x: (x**2, x.copy()), lambda dy, x: np.multiply(x, 2 * dy, out=x), X


def of_dy(change):
    return lambda: (square, lambda dy, x: 2 * x * change(dy), X)


FAULTS = {
    "second call": (from_the_second_call_on, "a second backward with the same dy and cache"),
    "never reset": (never_reset, "another gradient of w: does it keep or accumulate"),
    "cache": (in_its_cache, "a second backward with the same dy and cache"),
    "dy over dy": (of_dy(lambda dy: dy * (dy / dy)), "for a dy of zeros the gradient of x is not"),
    "plus": (of_dy(lambda dy: dy + 1e-12), "for a dy of zeros the gradient of x is not"),
    "clipped at 4": (of_dy(lambda dy: np.clip(dy, -4, 4)), "is not linear in dy: for 0.5 dy1"),
    "clipped at 40": (of_dy(lambda dy: np.clip(dy, -40, 40)), "is not linear in dy"),
    "norm": (of_dy(lambda dy: dy / max(1, np.linalg.norm(dy) / 10)), "is not linear in dy"),
    "small": (of_dy(lambda dy: dy * (abs(dy) > 1e-4)), "not linear in dy: for 1e-09 dy"),
    "dtype": (
        lambda: (lambda x: (x, None), lambda dy, _: dy.astype("f4"), X),
        "the gradient of x is float32, but x is float64",
    ),
    "memory of dy": (
        of_dy(lambda dy: dy.ravel(order="K").reshape(dy.shape)),
        "for non-contiguous inputs and dy backward returns another gradient of x",
    ),
    "memory of x": (
        lambda: (lambda x: (x.ravel(order="K").reshape(x.shape) ** 2, x), square_backward, X),
        "for non-contiguous inputs forward returns another y",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("options", [{}, {"samples": 3}, {"method": "direction"}])
def test_faults_of_a_backward(fault, options):
    make, says = FAULTS[fault]
    tolerance = 1e-5 if fault == "dtype" else 1e-7
    with pytest.raises(GradientError, match=says):
        check(*make(), tolerance=tolerance, **options)
    report = check(*make(), tolerance=tolerance, raises=False, **options)
    assert not report.passed and all(r.passed for r in report) and "FAIL: " in str(report)


def test_a_cache_may_serve_once():
    """If its error says so, as that of the layers does."""
    assert check(lambda x: (x**2, [x]), lambda dy, cache: square_backward(dy, cache.pop()), X)


def test_images_that_mix():
    def centred(x):
        return x - x.mean(axis=0), None

    def backward(dy, _):
        return dy - dy.mean(axis=0)

    assert check(centred, backward, X).passed
    with pytest.raises(GradientError, match="images are not independent: y of one image changes"):
        check(centred, backward, X, batch=["x"])
    assert check(square, square_backward, X, batch=["x"]).passed


def test_ours_do_not_mix_images_unless_they_say_so():
    mixing = {op for op, cases in CASES.items() if any(case.mixes for case in cases)}
    assert mixing == {
        "batch_norm", "batch_norm_leaky_relu", "mean_logvar", "kl_free_bits", "elbo",
    }  # fmt: skip
    assert all(report.passed for report in check_op("linear", "direction"))


class Sets(sv.layers.Linear):
    """A layer that sets its gradients instead of adding to them."""

    def _add(self, dw, db):
        self.weight.grad[...], self.bias.grad[...] = 0, 0
        super()._add(dw, db)


class Frozen(sv.layers.Linear):
    """A layer without a gradient for its input."""

    def backward(self, dy, need_dx=True):
        super().backward(dy)
        return (None,)


def layer(kind):
    return kind(4, 3, rng=np.random.default_rng(0), dtype="float64")


def test_layers_add_to_their_gradients():
    with pytest.raises(GradientError, match="Sets: a second backward .* gradient of weight"):
        check_layer(layer(Sets), X)
    assert check_layer(layer(sv.layers.Linear), X, batch=["x"]).passed


def test_inputs_without_a_gradient():
    report = check_layer(layer(Frozen), X, without_gradient=["x"])
    assert [r.tensor for r in report] == ["weight", "bias"] and report.passed


@pytest.mark.parametrize("method", ["complex", "direction"])
def test_models_add_to_their_gradients(method):
    class Broken(sv.models.MLP):
        def backward(self):
            self.zero_grad()
            super().backward()

    model = Broken(image_shape=(1, 3, 3), latent_dim=2, rng=rng, dtype="float64")
    with pytest.raises(GradientError, match="Broken: after a second loss and backward"):
        check_model(model, rng.random((2, 1, 3, 3)), model.noise(2, rng), method, samples=0)


def two(x, w):
    return (x @ w, (x**2).sum(axis=1)), (x, w)


def two_backward(dy, cache):
    (of_product, of_sum), (x, w) = dy, cache
    dx = of_product @ w.T
    return dx if of_sum is None else dx + 2 * x * of_sum[:, None], x.T @ of_product


@pytest.mark.parametrize("method", ["central", "direction", "complex"])
def test_several_outputs(method):
    assert check(two, two_backward, X, W, method=method).passed
    assert check(two, two_backward, X, W, method=method, without_dy=[1]).passed
    with pytest.raises(GradientError, match="the gradient of x, .* is wrong"):
        check(two, lambda dy, c: two_backward((dy[0], None), c), X, W, method=method)


def test_outputs_that_are_no_floats_get_no_dy():
    def largest(x):
        return (x.max(axis=1), x.argmax(axis=1), None), x

    def backward(dy, x):
        assert dy[1] is None and dy[2] is None
        return dy[0][:, None] * (x == x.max(axis=1, keepdims=True))

    assert check(largest, backward, X).passed
    with pytest.raises(ValueError, match="without_dy has output 3, but largest has 3"):
        check(largest, backward, X, without_dy=[3])
    with pytest.raises(ValueError, match="no output of largest has a dy"):
        check(largest, backward, X, without_dy=[0])


def test_an_absolute_tolerance():
    def nearly(dy, x):
        return 2 * x * dy * (1 + 1e-6)

    for method in ("central", "direction"):
        assert check(square, nearly, X, atol=1e-4, method=method).passed
        assert not check(square, nearly, X, atol=1e-9, method=method, raises=False).passed


def test_large_inputs_are_sampled(monkeypatch):
    """The report says so, and how to check every element."""
    calls = []

    def forward(x):
        calls.append(1)
        return square(x)

    x = np.random.default_rng(0).standard_normal(500)
    monkeypatch.setattr(sys.modules["scratchvae.gradcheck.judge"], "ELEMENTS", 400)
    report = check(forward, square_backward, x)
    assert report.passed and report["x"].compared == 8 and len(calls) < 100
    assert "x: checked 5 of its 500 elements" in str(report) and "samples='all'" in str(report)
    assert check(forward, square_backward, x, samples="all")["x"].compared == 500

    def wrong(dy, x):
        dx = square_backward(dy, x)
        dx[321] += 1
        return dx

    assert check(forward, wrong, x, raises=False)["x"].where == (321,)


@pytest.mark.parametrize("limit", [10, 1e4])
def test_a_dy_that_is_clipped_shows_where_y_is_a_number(limit):
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal(4)
        for shaped in (
            lambda dy: np.clip(dy, -limit, limit),
            lambda dy: np.minimum(dy, limit),
            lambda dy: dy * (abs(dy) > 1 / limit**2),
        ):
            pair = (lambda x: ((x * x).sum(), x), lambda dy, x, shaped=shaped: 2 * x * shaped(dy))
            assert not check(*pair, x, seed=seed, raises=False).passed


def test_trials_of_large_arrays():
    total = [0.0]

    def backward(dy, _):
        total[0] = total[0] + 2 * dy
        return total[0]

    x = np.random.default_rng(0).standard_normal(60_000)
    assert not check(lambda x: (2 * x, x), backward, x, samples=3, raises=False).passed


def test_what_overflows_is_not_called_wrong():
    for seed in range(10):
        x = np.random.default_rng(seed).uniform(690, 709, 6)
        with np.errstate(all="ignore"):
            check(lambda x: (np.exp(x), x), lambda dy, x: dy * np.exp(x), x, seed=seed)
