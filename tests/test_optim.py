import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae import optim


@pytest.fixture
def model():
    return sv.models.build("mlp", latent_dim=2, image_shape=(1, 2, 2), seed=0, dtype="float64")


def gradients(model, steps, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(model.flat_value.size) for _ in range(steps)]


def values(model):
    """A copy, as a NumPy array."""
    return sv.asnumpy(model.flat_value).copy()


def run(model, optimizer, grads):
    for grad in grads:
        model.flat_grad = sv.asarray(grad)
        optimizer.step()
    return values(model)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_hand(engine, model, nesterov):
    start, (g1, g2) = values(model), gradients(model, 2)
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9, nesterov=nesterov)
    v1, v2 = g1, 0.9 * g1 + g2
    moves = (g1 + 0.9 * v1) + (g2 + 0.9 * v2) if nesterov else v1 + v2
    assert_allclose(run(model, optimizer, [g1, g2]), start - 0.1 * moves)


def test_adams_first_step_is_lr_times_the_sign(engine, model):
    """The two bias corrections give m_hat / sqrt(v_hat) = +-1 for gradients of any size."""
    start, (g,) = values(model), gradients(model, 1)
    ours = run(model, optim.Adam(model, lr=0.01), [1e3 * g])
    assert_allclose(ours, start - 0.01 * np.sign(g), atol=1e-9)


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_by_its_algorithm(engine, model, kind, decay):
    value, m, v = values(model), 0.0, 0.0
    grads = gradients(model, 5)
    for t, g in enumerate(grads, 1):
        if kind == "AdamW":
            value = value - 0.01 * decay * value
        else:
            g = g + decay * value
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        value = value - 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
    optimizer = getattr(optim, kind)(model, lr=0.01, betas=(0.8, 0.95), weight_decay=decay)
    assert_allclose(run(model, optimizer, grads), value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_engines_take_the_same_steps(engine, kind, dtype):
    results = []
    for each in ("numpy", sv.backend.current_engine()):
        with sv.using(each):
            model = sv.models.build("mlp", latent_dim=2, image_shape=(1, 2, 2), dtype=dtype)
            optimizer = getattr(optim, kind)(model, weight_decay=0.05)
            results.append(run(model, optimizer, [g.astype(dtype) for g in gradients(model, 10)]))
            assert model.flat_value.dtype == dtype
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert_allclose(*results, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_learning_rate_of_numpys_is_a_number(engine, kind):
    """Schedules with np.cos give NumPy scalars, which are neither arrays nor Python floats."""
    results = []
    for number in (float, np.float64):
        model = sv.models.build("mlp", latent_dim=2, image_shape=(1, 2, 2), seed=0)
        (g,) = gradients(model, 1)
        optimizer = getattr(optim, kind)(model, lr=number(0.1), weight_decay=number(0.01))
        results.append(run(model, optimizer, [g.astype("float32")]))
    assert_array_equal(*results)


@pytest.mark.parametrize(
    ("kind", "options", "limit"),
    [
        ("SGD", {}, 2),
        ("SGD", {"momentum": 0.5}, 3),
        ("SGD", {"momentum": 0.5, "nesterov": True}, 1.5),
        ("AdamW", {}, 2),
    ],
)
def test_from_which_weight_decay_on_the_weights_grow(model, kind, options, limit):
    """The advice after a divergence names the decay from there on."""
    start = values(model)
    for product, grows in ((0.98 * limit, False), (1.02 * limit, True)):
        model.flat_value = start
        optimizer = getattr(optim, kind)(model, lr=0.1, weight_decay=product / 0.1, **options)
        moved = run(model, optimizer, [0 * start] * 300)
        assert (np.abs(moved).max() > np.abs(start).max()) == grows
        assert ("weight_decay times lr is" in optim.how_to_stop_growth(optimizer)) == grows


def test_defaults_of_sgd_are_pytorchs(model):
    """tests/golden has steps of Adam and AdamW with their defaults."""
    sgd = optim.SGD(model)
    assert (sgd.lr, sgd.momentum, sgd.weight_decay, sgd.nesterov) == (1e-3, 0, 0, False)


def test_clip_grad_norm(engine, model):
    (g,) = gradients(model, 1)
    norm = np.linalg.norm(g)

    def clipped(max_norm):
        came = float(optim.clip_grad_norm(model, max_norm))
        return came, sv.asnumpy(model.flat_grad).copy()

    model.flat_grad = sv.asarray(g)
    came, grad = clipped(2 * norm)
    assert came == pytest.approx(norm)
    assert_array_equal(grad, g)
    came, grad = clipped(norm / 4)
    assert came == pytest.approx(norm)
    assert_allclose(grad, g / 4, rtol=1e-6)


SIZES = {  # of gradients whose squares do not fit into their dtype, and of ordinary ones
    "float32": (3e20, 3e-30, 1e38, 1e-40, 1.0),
    "float64": (3e200, 3e-200, 5e307, 3e-310, 1.0),
}


@pytest.mark.parametrize(
    ("dtype", "size"), [(dtype, size) for dtype, sizes in SIZES.items() for size in sizes]
)
def test_the_norm_does_not_overflow(engine, dtype, size):
    for small in (1, 1e-3, 0):  # next to it, elements whose squares have another magnitude
        g = np.array([3, -4, small] * 3, dtype) * np.dtype(dtype).type(size / 3)
        exact = size / 3 * math.hypot(*[3, 4, small] * 3)
        grad = sv.asarray(g.copy())
        norm = float(optim.clip_to_norm(grad, exact * 2))
        assert norm == pytest.approx(exact, rel=1e-6 if size > 1e-38 else 1e-3, abs=0)
        assert_array_equal(sv.asnumpy(grad), g)
        if size > 1e-5:
            optim.clip_to_norm(grad, 2.0)
            assert_allclose(math.hypot(*sv.asnumpy(grad).tolist()), 2, rtol=1e-5)


@pytest.mark.parametrize("limit", [2.0**500, 2.0**-500], ids=["large", "small"])
def test_the_norm_of_numbers_on_both_sides_of_a_limit(engine, limit):
    """The CUDA kernel sums small, medium and large squares separately."""
    g = limit * np.array([1.5, *[0.9] * 8])
    norm = float(optim.clip_to_norm(sv.asarray(g), math.inf))
    assert norm == pytest.approx(math.hypot(*g), rel=1e-14, abs=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_norm_that_is_not_finite_clips_nothing(engine, value):
    for size in (1.0, 1e30):
        g = np.array([size, value, 2], "float32")
        grad = sv.asarray(g.copy())
        norm = float(optim.clip_to_norm(grad, 0.5))
        assert_array_equal(norm, abs(value))
        assert_array_equal(sv.asnumpy(grad), g)


@pytest.mark.parametrize("value", ["1e-3", None, [1e-3], 1j, np.ones(2)])
def test_numbers_are_numbers(model, value):
    for call, name in (
        (lambda: optim.Adam(model, lr=value), "Adam: lr"),
        (lambda: optim.AdamW(model, eps=value), "AdamW: eps"),
        (lambda: optim.SGD(model, momentum=value), "SGD: momentum"),
    ):
        with pytest.raises(TypeError, match=f"{name} must be a number, got"):
            call()


@pytest.mark.parametrize(
    "betas", [(0.9, 1.0), (0.9,), (0.9, 0.99, 0.999), 0.9, None, "ab", (0.9, "b"), (-1, 0.9)]
)
def test_betas_are_two_numbers(model, betas):
    with pytest.raises(ValueError, match=r"AdamW: betas must be two numbers in \[0, 1\)"):
        optim.AdamW(model, betas=betas)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: optim.Adam(m, lr=-1), "Adam: lr must be at least 0, got -1"),
        (lambda m: optim.Adam(m, lr=float("nan")), "Adam: lr must be at least 0, got nan"),
        (lambda m: optim.Adam(m, eps=-1e-8), "Adam: eps must be at least 0"),
        (lambda m: optim.SGD(m, momentum=-0.5), "SGD: momentum must be at least 0, got -0.5"),
        (lambda m: optim.SGD(m, nesterov=True), "SGD: nesterov needs a momentum above 0"),
        (lambda m: optim.clip_grad_norm(m, 0), "clip_grad_norm: max_norm must be above 0, got 0"),
    ],
)
def test_errors(model, make, message):
    with pytest.raises(ValueError, match=message):
        make(model)
