import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.data import batches
from scratchvae.train import evaluate, random_streams, train_step


@pytest.fixture
def images():
    """Squares of three sizes at random places: enough structure to learn in a few steps."""
    rng = np.random.default_rng(0)
    images = np.zeros((70, 28, 28), "uint8")
    for image in images:
        size, (top, left) = rng.integers(4, 12), rng.integers(2, 14, 2)
        image[top : top + size, left : left + size] = 255
    return images


def trained(name, images, seed, steps=20):
    model = sv.models.build(name, latent_dim=4, seed=seed)
    optimizer = sv.optim.Adam(model)
    shuffle, noise = random_streams(seed, 2)
    losses = []
    while len(losses) < steps:
        for x in batches(images, 32, shuffle):
            losses.append(float(train_step(model, optimizer, x, model.noise(len(x), noise)).total))
    return model, losses


@pytest.mark.parametrize("name", ["mlp", "conv", "ae"])
def test_training_lowers_the_loss(engine, images, name):
    _, losses = trained(name, images, seed=0)
    assert np.mean(losses[-3:]) < 0.6 * losses[0]


@pytest.mark.parametrize("name", ["mlp", "conv", "ae"])
def test_same_seed_same_numbers(engine, images, name):
    (a, _), (b, _), (c, _) = (trained(name, images, seed, steps=6) for seed in (0, 0, 1))
    assert_array_equal(a.flat_value, b.flat_value)
    assert (a.flat_value != c.flat_value).any()


def test_train_step_is_backward_and_a_step(engine):
    a, b = (sv.models.build("mlp", dtype="float64") for _ in range(2))
    rng = np.random.default_rng(0)
    x, eps = rng.random((5, 1, 28, 28)), a.noise(5, rng)
    a.flat_grad[...] = 99  # left over from anything before
    losses = train_step(a, sv.optim.SGD(a, lr=0.1), x, eps)
    assert losses == b.loss(x, eps)
    b.backward()
    assert_allclose(a.flat_value, b.flat_value - 0.1 * b.flat_grad, rtol=1e-12)


def test_evaluate_weights_every_image_alike(images):
    """70 images in batches of 32, 32 and 6: the mean of the batches' means would be wrong."""
    model = sv.models.build("ae", dtype="float64")
    x = next(batches(images, 70, dtype="float64"))
    expected = ((model.reconstruct(x) - x) ** 2).sum() / 70
    losses = evaluate(model, images, np.random.default_rng(0), batch_size=32)
    assert losses == (pytest.approx(expected), pytest.approx(expected), 0)
    assert all(type(part) is float for part in losses)


def test_evaluate_repeats_itself_and_restores_the_mode(images):
    model = sv.models.build("mlp")
    before = model.flat_value.copy()
    a, b = (evaluate(model, images, np.random.default_rng(3)) for _ in range(2))
    assert a == b and model.training
    assert_array_equal(model.flat_value, before)
    model.eval()
    evaluate(model, images, np.random.default_rng(3))
    assert not model.training
    with pytest.raises(RuntimeError, match="no cache"):
        model.backward()


def test_random_streams_are_independent_and_repeatable():
    a, b = random_streams(0, 2)
    again, _ = random_streams(0, 2)
    first = a.random(100)
    assert_array_equal(first, again.random(100))
    assert abs(np.corrcoef(first, b.random(100))[0, 1]) < 0.3
