"""Free bits as an option of every VAE: the objective changes, the reported KL does not."""

import numpy as np
import pytest
from harness import on_device
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae.gradcheck import check_model
from scratchvae.ops import kl_free_bits_forward

SHAPES = {
    "mlp": (1, 4, 4),
    "conv": (1, 8, 8),
    "tiny": (1, 28, 28),
    "celeba": (3, 32, 32),
    "skip": (3, 64, 64),
}
LARGE = pytest.mark.slow
every_vae = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=LARGE if n in ("celeba", "skip") else ()) for n in SHAPES]
)
pytestmark = pytest.mark.usefixtures("few_channels")


def build(name, **options):
    return sv.models.build(name, image_shape=SHAPES[name], seed=0, dtype="float64", **options)


def batch(model, n=3):
    rng = np.random.default_rng(1)
    x = rng.uniform(*model.data_range, (n, *model.image_shape))
    return on_device(x), model.noise(n, rng)


def means(model, x):
    """The KL of each latent dimension, averaged over the batch."""
    mu, logvar, *_ = model.encode(x)
    return 0.5 * (mu**2 + np.expm1(logvar) - logvar).mean(axis=0)


def losses_and_gradient(model):
    losses = model.loss(*batch(model))
    model.backward()
    return [*map(float, losses), sv.asnumpy(model.flat_grad)]


def test_every_vae_is_here():
    models = sv.models.MODELS.items()
    assert set(SHAPES) == {name for name, made in models if issubclass(made, sv.models.VAE)}


def test_gradients_by_complex_step():
    """With dimensions on both sides of the floor, none of them near it."""
    model = build("mlp", latent_dim=6, kl_weight=3.0, free_bits=0.017)
    x, eps = batch(model)
    off = means(model, x) - 0.017
    assert (off > 0.001).any()
    assert (off < -0.001).any()
    assert (np.abs(off) > 0.001).all()
    assert check_model(model, x, eps, samples=4).worst.error <= 1e-10


@every_vae
def test_the_total_has_the_floor_and_the_kl_has_none(engine, name):
    """So reconstruction + kl stays the -ELBO."""
    free_bits = {"celeba": 0.13, "skip": 3.0}.get(name, 0.01)  # near the KL of these models
    model, plain = build(name, kl_weight=3.0, free_bits=free_bits), build(name, kl_weight=3.0)
    x, eps = batch(model)
    mu, logvar = model.forward(x, eps)[1:]
    floored = float(kl_free_bits_forward(mu, logvar, free_bits)[0].mean())
    losses = model.loss(x, eps)
    assert float(losses.total) == pytest.approx(float(losses.reconstruction) + 3 * floored)
    assert [*map(float, losses[1:])] == [*map(float, plain.loss(x, eps)[1:])]
    assert floored > float(losses.kl)
    assert [*map(float, model.loss(x, eps, keep=False))] == [*map(float, losses)]


@every_vae
def test_what_is_free_does_not_pull(engine, name):
    """With every dimension below the floor, the gradient is that of the reconstruction alone."""
    *_, gradient = losses_and_gradient(build(name, kl_weight=3.0, free_bits=1e3))
    *_, of_the_reconstruction = losses_and_gradient(build(name, kl_weight=0.0))
    assert_array_equal(gradient, of_the_reconstruction)


@every_vae
def test_none_is_the_model_of_before(name):
    for given, expected in zip(
        losses_and_gradient(build(name, free_bits=0)), losses_and_gradient(build(name)), strict=True
    ):
        assert_array_equal(given, expected)


@pytest.mark.parametrize(("before", "after"), [(0.0, 1e3), (1e3, 0.0)])
def test_backward_is_that_of_the_loss(engine, before, after):
    """Also if free_bits is changed between loss and backward."""
    model, other = build("mlp", free_bits=before), build("mlp", free_bits=before)
    model.loss(*batch(model))
    model.free_bits = after
    model.backward()
    assert_array_equal(sv.asnumpy(model.flat_grad), losses_and_gradient(other)[-1])
