import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.data import batches
from scratchvae.train import (
    advice,
    evaluate_deterministic,
    evaluate_sampled,
    streams,
    train_epoch,
    train_step,
)

pytestmark = pytest.mark.usefixtures("few_channels")


@pytest.fixture
def images():
    """Squares of three sizes at random positions: enough structure to learn in a few steps."""
    rng = np.random.default_rng(0)
    images = np.zeros((70, 28, 28), "uint8")
    for image in images:
        size, (top, left) = rng.integers(4, 12), rng.integers(2, 14, 2)
        image[top : top + size, left : left + size] = 255
    return images


def trained(name, images, seed, steps=20, batch_size=32):
    model = sv.models.build(name, latent_dim=4, image_shape=(1, *images.shape[1:]), seed=seed)
    optimizer = sv.optim.Adam(model)
    shuffle, noise, *_ = streams(seed)
    losses = []
    while len(losses) < steps:
        for x in batches(images, batch_size, shuffle):
            eps = model.noise(len(x), noise)
            losses.append(float(train_step(model, optimizer, sv.asarray(x), eps).total))
    return model, losses


SLOW = pytest.mark.slow


@pytest.mark.parametrize("name", ["mlp", "ae"])
def test_training_lowers_the_loss(engine, images, name, steps=20):
    _, losses = trained(name, images, 0, steps)
    assert np.mean(losses[-3:]) < 0.6 * losses[0]


@SLOW
@pytest.mark.parametrize(
    "engine", ["numpy", "numba", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True
)
@pytest.mark.parametrize(("name", "steps"), [("conv", 20), ("tiny", 100)])
def test_training_of_convolutions_lowers_the_loss(engine, images, name, steps):
    """Without the stand-in for CuPy, which takes half a minute for each: test_on_cuda.py compares
    50 steps on it with NumPy's."""
    test_training_lowers_the_loss(engine, images, name, steps)


@pytest.mark.parametrize("name", ["mlp", "conv", "ae"])
def test_same_seed_same_numbers(engine, images, name):
    few = images[:10, 6:22, 6:22]
    models = [trained(name, few, seed, steps=6, batch_size=4)[0] for seed in (0, 0, 1)]
    a, b, c = (sv.asnumpy(model.flat_value) for model in models)
    assert_array_equal(a, b)
    assert (a != c).any()


def test_train_step_is_backward_and_a_step(engine):
    a, b = (sv.models.build("mlp", dtype="float64") for _ in range(2))
    rng = np.random.default_rng(0)
    x, eps = sv.asarray(rng.random((5, 1, 28, 28))), a.noise(5, rng)
    a.flat_grad[...] = 99  # left over from earlier steps
    losses = train_step(a, sv.optim.SGD(a, lr=0.1), x, eps)
    assert losses == b.loss(x, eps)
    b.backward()
    expected = b.flat_value - 0.1 * b.flat_grad
    assert_allclose(*map(sv.asnumpy, (a.flat_value, expected)), rtol=1e-12)


def test_evaluate_weights_every_image_alike(images):
    """70 images in batches of 32, 32 and 6: the mean of the batch means would be wrong."""
    model = sv.models.build("ae", dtype="float64")
    x = next(batches(images, 70, dtype="float64"))
    expected = ((model.reconstruct(x) - x) ** 2).sum() / 70
    for losses in (
        evaluate_sampled(model, images, np.random.default_rng(0), batch_size=32),
        evaluate_deterministic(model, images, batch_size=32),
    ):
        assert losses == (pytest.approx(expected), pytest.approx(expected), 0)
        assert all(type(part) is float for part in losses)


def test_evaluate_adds_up_in_float64_and_needs_an_image(images, monkeypatch):
    model = sv.models.build("ae")
    values = iter(np.float32([2**24, 1, 2**24, 1]))
    monkeypatch.setattr(model, "loss", lambda *_, **__: sv.ops.Losses(*[next(values)] * 3))
    assert evaluate_deterministic(model, images[:4], 1) == ((2**24 + 1) / 2,) * 3
    with pytest.raises(ValueError, match="expected at least one image"):
        evaluate_deterministic(model, images[:0])


def test_deterministic_is_z_equal_mu_and_sampled_is_not(images):
    model, x = sv.models.build("mlp", dtype="float64"), next(batches(images, 70, dtype="float64"))
    image, kl = model.reconstruct(x), evaluate_sampled(model, images, np.random.default_rng(0)).kl
    expected = -(x * np.log(image) + (1 - x) * np.log(1 - image)).sum() / 70
    losses = evaluate_deterministic(model, images, batch_size=32)
    assert losses == pytest.approx((expected + kl, expected, kl))
    sampled = [evaluate_sampled(model, images, np.random.default_rng(s)).total for s in range(3)]
    assert len({losses.total, *sampled}) == 4 and min(sampled) > losses.total


def test_an_epoch_is_its_steps(images):
    """Every image once, and the smaller last batch weighted by its size."""
    a, b = (sv.models.build("mlp", dtype="float64") for _ in range(2))
    losses = train_epoch(a, sv.optim.SGD(a, 0.01), images, 32, *streams(5)[:2])
    optimizer, (shuffle, noise, *_), sums = sv.optim.SGD(b, 0.01), streams(5), np.zeros(3)
    for x in batches(images, 32, shuffle, dtype="float64"):
        sums += len(x) * np.array(train_step(b, optimizer, x, b.noise(len(x), noise)))
    assert losses == pytest.approx(tuple(sums / 70))
    assert_array_equal(a.flat_value, b.flat_value)


def test_an_epoch_without_images_is_refused(images):
    model = sv.models.build("mlp")
    with pytest.raises(ValueError, match="batches: expected at least one image, found shape"):
        train_epoch(model, sv.optim.SGD(model), images[:0], 32, *streams(0)[:2])


def test_evaluation_uses_running_statistics_and_moves_none():
    model = sv.models.build("celeba", image_shape=(3, 32, 32), latent_dim=2)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), "uint8")
    state = model.state_dict()
    one_by_one, together = (evaluate_deterministic(model, images, size) for size in (1, 5))
    assert one_by_one == pytest.approx(together, rel=1e-5)
    evaluate_sampled(model, images, np.random.default_rng(0))
    for name, array in model.state_dict().items():
        assert_array_equal(array, state[name])


def test_images_come_in_the_range_of_the_model(monkeypatch):
    """A tanh model with data in [0, 1] would also train, only worse."""
    model = sv.models.build("celeba", image_shape=(3, 32, 32), latent_dim=2)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), "uint8")
    seen, loss = [], model.loss

    def watched(x, *others, **options):
        seen.append((x.min(), x.max()))
        return loss(x, *others, **options)

    monkeypatch.setattr(model, "loss", watched)
    train_epoch(model, sv.optim.SGD(model, 0.01), images, 4, *streams(0)[:2])
    evaluate_deterministic(model, images)
    assert seen == [(-1, 1)] * 2


def test_evaluate_repeats_itself_and_restores_the_mode(images):
    model = sv.models.build("mlp")
    before = model.flat_value.copy()
    a, b = (evaluate_sampled(model, images, np.random.default_rng(3)) for _ in range(2))
    assert a == b and model.training
    assert_array_equal(model.flat_value, before)
    model.eval()
    evaluate_sampled(model, images, np.random.default_rng(3))
    assert not model.training
    with pytest.raises(RuntimeError, match="no cache"):
        model.backward()


def test_random_streams_are_independent_and_repeatable():
    a, b, *_ = streams(0)
    again = streams(0).shuffle
    first = a.random(100)
    assert_array_equal(first, again.random(100))
    assert abs(np.corrcoef(first, b.random(100))[0, 1]) < 0.3


def test_an_optimizer_steps_its_own_model_only():
    model, other = (sv.models.build("tiny") for _ in range(2))
    x, eps = np.zeros((2, 1, 28, 28), "float32"), model.noise(2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="train_step: the optimizer was made for another model"):
        train_step(model, sv.optim.Adam(other), x, eps)


@pytest.mark.parametrize(("count", "batch_size"), [(5, 4), (1, 4), (3, 1)])
def test_a_last_batch_that_cannot_be_trained_on_is_refused_before_the_first_step(count, batch_size):
    model = sv.models.build("celeba", image_shape=(3, 32, 32), latent_dim=2)
    optimizer = sv.optim.Adam(model)
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), np.uint8)
    before = model.state_dict()
    rngs = np.random.default_rng(0), np.random.default_rng(1)
    message = f"train_epoch: {count} images in batches of {batch_size} leave a last batch of one"
    with pytest.raises(ValueError, match=message):
        train_epoch(model, optimizer, images, batch_size, *rngs)
    assert optimizer.steps == 0
    for name, array in model.state_dict().items():
        assert_array_equal(array, before[name])


def test_a_last_batch_of_one_is_fine_elsewhere():
    """With larger maps, without a batch norm, and in evaluation, which uses running statistics."""
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), np.uint8)
    for name, evaluated in (("celeba", False), ("skip", False), ("celeba", True)):
        size = 32 if evaluated else 64
        model = sv.models.build(name, image_shape=(3, size, size))
        model.train(not evaluated)
        rngs = np.random.default_rng(0), np.random.default_rng(1)
        with sv.using("numba"):
            train_epoch(model, sv.optim.Adam(model), images[..., :size, :size], 2, *rngs)


@pytest.mark.parametrize("name", ["mlp", "conv", "tiny", "ae"])
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_errstate_does_no_harm_to_a_step(name, engine):
    def step():
        model = sv.models.build(name)
        optimizer = sv.optim.Adam(model)
        rng = np.random.default_rng(0)
        x = rng.random((2, *model.image_shape), "float32")
        for _ in range(2):
            train_step(model, optimizer, x, model.noise(2, rng), max_norm=1.0)
        return model.flat_value, model.generate(1e3 * model.noise(2, rng))

    with sv.using(engine):
        expected = step()
        with np.errstate(all="raise"):
            ours = step()
    for one, other in zip(ours, expected, strict=True):
        assert_array_equal(one, other)


def set_weight(value):
    return lambda model, x, eps: model.fc2.weight.value.fill(value)


def set_noise(value):
    return lambda model, x, eps: eps.fill(value)


LOAD = "no update has been made; load or build other weights"
CAUSES = {  # options of the model and the optimizer, a change before the step, and the message
    "KL weight": ({"kl_weight": 1e39}, {}, None, "step 1 .* the loss: the KL weight, 1e.39, is to"),
    "KL weight, later": (
        {"kl_weight": 1e30}, {"kind": "SGD"}, None, "step 2 .*: a KL weight of 1e.30 makes the"
    ),
    "free bits": ({"free_bits": 1e39}, {}, None, "step 1 .* the loss: free_bits, 1e.39, is too "),
    "float64": (
        {"free_bits": 1e308, "dtype": "float64"}, {}, None, "too large for float64; try a smaller"
    ),
    "lr": ({}, {"lr": 1e30}, None, r"step 2 .*: try a smaller lr \(now 1e.30\)$"),
    "lr and free bits": ({"free_bits": 9.0}, {"lr": 1e30}, None, "step 2 .*: try a smaller lr"),
    "lr outside the dtype": ({}, {"lr": 1e39}, None, "step 2 .*: lr, 1e.39, is too large for floa"),
    "lr below 1": ({}, {"kind": "SGD", "lr": 0.9}, None, r"lr \(now 0.9\) or gradient clipping$"),
    "AdamW's decay": (
        {}, {"kind": "AdamW", "weight_decay": 1e6}, None,
        r"step 2 .*: weight_decay times lr is 1000, .*decay \(now 1e.06\) or lr \(now 0.001\)$",
    ),
    "SGD's decay": ({}, {"kind": "SGD", "weight_decay": 1e6}, None, "weight_decay times lr is 100"),
    "Adam's decay": ({}, {"weight_decay": 1e39}, None, "weight_decay, 1e.39, is too large for fl"),
    "momentum": ({}, {"kind": "SGD", "momentum": 9.0}, None, "with a momentum of 9 the updates g"),
    "eps": ({}, {"eps": 1e-50}, None, r"eps \(1e-50\) is 0 in float32, so a gradient of 0 gives"),
    "weights": ({}, {}, set_weight(np.inf), f"step 1 is nan; .* the weight fc2.weight: {LOAD}$"),
    "large weights": (
        {"kl_weight": 4.0}, {"lr": 1e30}, set_weight(3e38),
        r"step 1 .*: no update .* weights \(up to 3e.38, in fc2.weight\) and the noise \(up to \d.",
    ),
    "noise": ({}, {}, set_noise(np.nan), "step 1 .* the noise: expected standard normal numbers"),
    "large noise": ({}, {}, set_noise(3e38), r"step 1 .*: no update .* noise \(up to 3e.38\)$"),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("cause", CAUSES)
def test_the_advice_fits_the_cause(cause, engine):
    options, settings, before, message = CAUSES[cause]
    kind = getattr(sv.optim, settings.get("kind", "Adam"))
    with sv.using(engine), np.errstate(all="ignore"):
        model = sv.models.build("mlp", image_shape=(1, 4, 4), **options)
        optimizer = kind(model, **{n: v for n, v in settings.items() if n != "kind"})
        rng = np.random.default_rng(0)
        with pytest.raises(FloatingPointError, match=message):
            for _ in range(100):
                x, eps = rng.random((8, 1, 4, 4)).astype(model.dtype), model.noise(8, rng)
                if before:
                    before(model, x, eps)
                train_step(model, optimizer, x, eps)


@pytest.mark.parametrize(
    ("tensor", "steps", "clipped", "expected"),
    [
        ("the batch", 0, False, "check the images"),
        ("model.fc1.bias", 0, False, LOAD),
        ("model.fc1.bias", 3, False, "try a smaller lr (now 0.001) or gradient clipping"),
        ("optimizer.v", 3, True, "try a smaller lr (now 0.001)"),
    ],
)
def test_advice_between_two_steps(tensor, steps, clipped, expected):
    model = sv.models.build("mlp", image_shape=(1, 4, 4))
    optimizer = sv.optim.Adam(model)
    optimizer.steps = steps
    assert advice(model, optimizer, tensor, clipped=clipped) == expected


@pytest.mark.parametrize(
    ("options", "settings", "cause"),
    [({}, {"weight_decay": 1e30}, "weight_decay"), ({"kl_weight": 1e30}, {}, "KL weight")],
)
def test_advice_for_gradients_whose_squares_overflow(options, settings, cause):
    """All weights and losses stay finite: Adam divides by infinity."""
    model = sv.models.build("mlp", image_shape=(1, 4, 4), **options)
    optimizer = sv.optim.Adam(model, **settings)
    with np.errstate(all="ignore"):
        x = np.zeros((2, 1, 4, 4), "float32")
        train_step(model, optimizer, x, model.noise(2, np.random.default_rng(0)))
    assert np.isinf(optimizer.v).any() and np.isfinite(model.flat_value).all()
    said = f"a {cause} of 1e+30 makes the gradients very large; try a smaller one"
    assert advice(model, optimizer, "optimizer.v") == said
