"""`build`: its errors, and the effect of seeds."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg", {}, "unknown model 'vgg'; there are mlp, conv, tiny, celeba, skip, ae"),
        ("mlp", {"dtype": "float16"}, "dtype must be 'float32' or 'float64', got 'float16'"),
        ("ae", {"kl_weight": 1.0}, "model 'ae' has no option kl_weight; it has latent_dim, image"),
        ("skip", {"latent_dim": 3}, "model 'skip' has no option latent_dim; it has image_shape, "),
        ("mlp", {"latent_dim": 0}, "latent_dim must be an int of at least 1, got 0"),
        ("conv", {"latent_dim": "2"}, "latent_dim must be an int of at least 1, got '2'"),
        ("mlp", {"image_shape": (8, 8)}, r"image_shape must be \(C, H, W\), got \(8, 8\)"),
        ("mlp", {"image_shape": (1, 0, 8)}, "image_shape must be an int of at least 1, got 0"),
        ("mlp", {"kl_weight": np.nan}, "kl_weight must be a number of at least 0, got nan"),
        *(
            ("skip", {"free_bits": bad}, f"free_bits must be a number of at least 0, got {bad!r}")
            for bad in (-0.5, float("nan"), float("inf"), "0.5", None)
        ),
        ("ae", {"free_bits": 0.5}, "model 'ae' has no option free_bits; it has latent_dim"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(ValueError, match=f"build: {message}"):
        sv.models.build(name, **options)


@pytest.mark.parametrize(
    ("name", "image_shape", "message"),
    [
        ("conv", (1, 28, 30), "Conv: image height and width must be multiples of 4, got 28 x 30"),
        ("celeba", (3, 48, 64), "CelebA: image height and width must be multiples of 32, got 48 x"),
        ("skip", (3, 64, 96), "Skip: image height and width must be multiples of 64, got 64 x 96"),
        ("tiny", (1, 32, 32), r"Tiny: image_shape must be \(1, 28, 28\), .* got \(1, 32, 32\)"),
        ("tiny", (3, 28, 28), r"Tiny: image_shape must be \(1, 28, 28\), .* got \(3, 28, 28\)"),
    ],
)
def test_image_sizes_that_a_structure_does_not_admit(name, image_shape, message):
    with pytest.raises(ValueError, match=message):
        sv.models.build(name, image_shape=image_shape)


ADMITTED = {"mlp": (2, 3, 5), "conv": (3, 4, 12), "celeba": (1, 32, 96), "skip": (1, 64, 128)}


@pytest.mark.parametrize(("name", "image_shape"), ADMITTED.items())
def test_image_sizes_that_it_does(few_channels, name, image_shape):
    model = sv.models.build(name, image_shape=image_shape)
    rng = np.random.default_rng(0)
    x = rng.uniform(*model.data_range, (2, *image_shape)).astype("float32")
    model.loss(x, model.noise(2, rng))
    model.backward()
    assert model.generate(model.embed(x)).shape == x.shape
    assert np.isfinite(model.flat_grad).all()


SIZES = {
    "mlp": [1, 2, 3],
    "conv": [2, 4, 8],
    "tiny": [1, 28, 28],
    "celeba": [3, 32, 64],
    "skip": [1, 64, 128],
    "ae": [1, 2, 3],
}


@pytest.mark.parametrize("name", SIZES)
def test_a_list_of_sizes_stays_the_callers(name):
    """A constructor must not change the list that it gets, nor keep it, or it may change later."""
    sizes = SIZES[name].copy()
    model = sv.models.build(name, image_shape=sizes)
    assert sizes == SIZES[name]
    sizes[0] = 99
    assert model.image_shape == tuple(SIZES[name])


def test_weights_are_not_what_the_caller_draws_from_the_same_seed():
    bound = 784**-0.5
    drawn = np.random.default_rng(0).uniform(-bound, bound, 1000)
    weights = sv.models.build("mlp", seed=0, dtype="float64").flat_value[:1000]
    assert abs(np.corrcoef(drawn, weights)[0, 1]) < 0.2


def test_seeds():
    a, b, c = (sv.models.build("mlp", seed=seed).flat_value for seed in (0, 0, 1))
    assert_array_equal(a, b)
    assert (a != c).mean() > 0.99
