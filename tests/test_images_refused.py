"""Every function that takes images says how to convert others, and refuses empty arrays."""

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.evaluation import likelihood, metrics
from scratchvae.runs import Config, save_results

RNG = np.random.default_rng(0)
MODEL = sv.models.build("mlp", image_shape=(1, 4, 4), latent_dim=2)


def train_epoch(images):
    return sv.train.train_epoch(MODEL, sv.optim.Adam(MODEL), images, 2, RNG, RNG)


FUNCTIONS = {
    "batches": lambda images: sv.data.batches(images, 2),
    "binarize": lambda images: sv.data.binarize(images, RNG),
    "is_binary": sv.data.is_binary,
    "train_epoch": train_epoch,
    "evaluate_sampled": lambda images: sv.train.evaluate_sampled(MODEL, images, RNG),
    "evaluate_deterministic": lambda images: sv.train.evaluate_deterministic(MODEL, images),
    "report": lambda images: metrics.report(MODEL, images, RNG),
    "report, nll": lambda images: metrics.report(MODEL, images, RNG, 2),
    "per_image": lambda images: metrics.per_image(MODEL, images, RNG),
    "codes": lambda images: metrics.codes(MODEL, images),
    "reconstruction_error": lambda images: metrics.reconstruction_error(MODEL, images),
    "effect_of_z": lambda images: metrics.effect_of_z(MODEL, images, RNG),
    "neg_elbo": lambda images: likelihood.neg_elbo(MODEL, images, RNG),
    "importance_curve": lambda images: likelihood.importance_curve(MODEL, images, [2], RNG),
}

FROM_FLOATS = r"convert them with np.rint\(255 \* images\).astype\('uint8'\) if they lie in 0 to 1$"


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (np.ones((3, 4, 4), "float32"), f"found float32: {FROM_FLOATS}"),
        (np.ones((3, 4, 4)), f"found float64: {FROM_FLOATS}"),
        (
            np.ones((3, 4, 4), bool),
            r"found bool: convert them with 255 \* images.astype\('uint8'\)$",
        ),
        (
            np.ones((3, 4, 4), int),
            r"found int64: convert them with images.astype\('uint8'\) if they lie in 0 to 255$",
        ),
        ([[[0]]] * 3, "found list$"),
    ],
)
def test_other_images_are_refused_with_the_remedy(function, images, remedy):
    where = " in a NumPy array" if isinstance(images, list) else ""
    with pytest.raises(TypeError, match=f": expected images of uint8{where}, {remedy}"):
        FUNCTIONS[function](images)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("shape", [(0, 4, 4), (0, 1, 4, 4)])
def test_an_empty_array_is_one_clear_error(function, shape):
    with pytest.raises(ValueError, match=r"expected at least (one|2) image"):
        FUNCTIONS[function](np.zeros(shape, "uint8"))


def test_results_need_no_test_images(tmp_path):
    """`save_results` has no report then."""
    files = sv.runs.RunFolder(tmp_path / "run")
    files.make()
    files.write_config(Config(), {"data": {}})
    found = save_results(files, MODEL, np.zeros((0, 4, 4), "uint8"), [])
    assert found["test"] is None


def test_a_vae_has_its_kl_column_even_if_it_is_zero():
    """A wholly collapsed VAE is no autoencoder."""
    losses = sv.ops.Losses(206.5, 206.5, 0.0)
    assert sv.train.in_words(losses) == " 206.50 (recon 206.50, KL  0.00)"
    assert sv.train.in_words(losses, kl=False) == " 206.50"
