import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.gradcheck import check_model

pytestmark = pytest.mark.usefixtures("few_channels")
OPTIONS = [(skips, latent) for skips in ("all", "deep", "none") for latent in ("scalar", "learned")]
every_option = pytest.mark.parametrize(("skips", "latent"), OPTIONS)


def small(skips="all", latent="scalar", n=2, dtype="float64"):
    model = sv.models.build(
        "skip", image_shape=(1, 64, 64), skips=skips, latent=latent, dtype=dtype
    )
    rng = np.random.default_rng(0)
    return model, rng.random((n, 1, 64, 64)).astype(dtype), model.noise(n, rng)


@pytest.mark.slow  # test_models.py checks the gradients of the options by default
@every_option
def test_gradients(skips, latent):
    model, x, eps = small(skips, latent)
    assert check_model(model, x, eps, samples=0).worst.error <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("latent", ["scalar", "learned"])
def test_gradients_where_the_latent_grid_has_several_places(latent):
    """All positions share a scalar mu, so its gradient is a sum over the grid. There is no KL term
    here: next to it the gradient through z is 1e-12, and a mean in place of the sum would pass."""
    shape, options = (2, 64, 128), {"latent": latent, "kl_weight": 0.0}
    model = sv.models.build("skip", image_shape=shape, dtype="float64", **options)
    rng = np.random.default_rng(0)
    x, eps = rng.random((2, *shape)), model.noise(2, rng)
    assert eps.shape == (2, 6, 1, 2)
    assert check_model(model, x, eps, samples=0).worst.error <= 1e-10


@every_option
def test_which_skips_there_are(skips, latent):
    model, x, _ = small(skips, latent)
    mu, logvar, maps = model.encode(x)
    shape = (2,) if latent == "scalar" else (2, 6, 1, 1)
    assert mu.shape == logvar.shape == shape
    sizes = [m if m is None else m.shape[1:] for m in maps]
    deep = [(6, 2, 2), (5, 4, 4), (4, 8, 8), (3, 16, 16), (2, 32, 32)]
    assert sizes == {"all": [*deep, (1, 64, 64)], "deep": [*deep, None], "none": [None] * 6}[skips]


def test_scalars_are_the_images_own():
    """Over the whole batch, as in the tutorial, a code would depend on the other images."""
    model, x, _ = small()
    mu, logvar, _ = model.encode(x)
    for i in range(2):
        alone = model.encode(x[i : i + 1])
        assert_allclose([mu[i], logvar[i]], [alone[0][0], alone[1][0]], rtol=1e-9)
    h = x
    for stage in model.encoder:
        h = stage.forward(h, keep=False)
    h = h.max(axis=(2, 3))  # 2 x 2 -> 1 x 1
    assert_allclose(mu, h.mean(axis=1))
    assert_allclose(np.exp(logvar), h.var(axis=1) + 1e-6)


def test_skips_are_added():
    """With weights that pass everything through, the output is x plus the signal from below."""
    model, x, _ = small()
    last = model.decoder[-1]
    identity = np.zeros((1, 1, 3, 3))
    identity[0, 0, 1, 1] = 1
    for conv in (last.conv1, last.conv2):
        conv.weight, conv.bias = identity, np.zeros(1)
    h = np.random.default_rng(1).standard_normal((2, 2, 32, 32))
    assert_allclose(last.forward(h, x, keep=False) - last.forward(h, None, keep=False), x)


def test_sampling_says_where_its_skips_come_from():
    model, x, z = small()
    nothing, crossed = model.generate(z), model.generate(z, skips_from=x)
    assert np.abs(crossed - nothing).max() > 1e-3
    assert_array_equal(crossed, model.generate(z, skips_from=x))
    assert_allclose(model.generate(model.embed(x), skips_from=x), model.reconstruct(x))
    for images in (x[:1], x[..., :32, :32], np.concatenate([x, x])):
        with pytest.raises(ValueError, match=r"skips_from must have shape \(2, 1, 64, 64\), got"):
            model.generate(z, skips_from=images)
    model, x, z = small("none")
    assert_array_equal(model.generate(z), model.generate(z, skips_from=x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skips": "some"}, "Skip: skips must be 'all', 'deep' or 'none', got 'some'"),
        ({"latent": "vector"}, "Skip: latent must be 'scalar' or 'learned', got 'vector'"),
    ],
)
def test_options(options, message):
    with pytest.raises(ValueError, match=message):
        sv.models.build("skip", **options)
