"""Metrics compared with numbers computed by hand, and a report that can be written as JSON."""

import json
import math

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.data import batches, binarize, spread
from scratchvae.evaluation.likelihood import gaussian_decoder, importance_curve, neg_elbo
from scratchvae.evaluation.metrics import (
    Effect,
    active_units,
    codes,
    collapse_warning,
    effect_of_z,
    kl_per_dimension,
    per_image,
    reconstruction_error,
    report,
)
from scratchvae.train import evaluate_deterministic

pytestmark = pytest.mark.usefixtures("few_channels")


def rng(seed=0):
    return np.random.default_rng(seed)


def grey(n, *shape):
    return rng(2).integers(0, 256, (n, *(shape or (8, 8))), np.uint8)


def small(name="mlp", **options):
    return sv.models.build(name, image_shape=(1, 8, 8), dtype="float64", **options)


def test_codes_are_those_of_the_encoder_in_order(engine):
    model, x = sv.models.build("mlp", image_shape=(1, 8, 8), latent_dim=3), grey(7)
    mu, logvar = codes(model, x, batch_size=3)
    expected = model.encode(sv.asarray(next(batches(x, 7))))
    for ours, theirs in zip((mu, logvar), expected, strict=True):
        assert ours.shape == (7, 3) and ours.dtype == "float64"
        np.testing.assert_allclose(ours, sv.asnumpy(theirs), rtol=1e-5, atol=1e-6)
    assert model.training


def test_codes_use_running_statistics():
    model = sv.models.build("celeba", image_shape=(3, 32, 32), latent_dim=2)
    x = grey(3, 3, 32, 32)
    for one_by_one, together in zip(codes(model, x, 1), codes(model, x, 3), strict=True):
        np.testing.assert_allclose(one_by_one, together, rtol=1e-5, atol=1e-6)


def test_an_autoencoder_has_no_distribution_of_codes():
    with pytest.raises(ValueError, match="codes: expected a VAE; AE has no mu and logvar"):
        codes(small("ae"), grey(2))


def test_units_are_active_whose_mean_varies():
    """Variances over the data: 1, 0, 0.0025 and 0.04; an E[z|x] far from 0 is not activity."""
    sign = np.array([1, -1, 1, -1])
    mu = np.stack([sign, 0 * sign + 5, 0.05 * sign, 0.2 * sign + 3], axis=1)
    assert active_units(mu) == 2
    assert active_units(mu, threshold=0.05) == 1 and active_units(mu, threshold=0.001) == 3
    assert active_units(mu.reshape(4, 2, 2)) == 2
    assert active_units(mu[:, 0]) == 1 and active_units(mu[:, 1]) == 0
    with pytest.raises(ValueError, match="active_units: expected at least 2 images, got 1"):
        active_units(mu[:1])


def test_kl_per_dimension_is_that_of_each_gaussian():
    """mu = 2 at unit variance costs 2 nats, a variance of e^2 (e^2 - 3)/2."""
    mu, logvar = np.zeros((2, 3)), np.zeros((2, 3))
    mu[0, 1], logvar[:, 2] = 2, 2
    expected = [0, 1, (math.exp(2) - 3) / 2]  # mu = 2 in one of the two images only
    np.testing.assert_allclose(kl_per_dimension(mu, logvar), expected, atol=1e-15)


def test_kl_per_dimension_sums_to_the_loss():
    """As in the model's loss: `skip` has one mu for all positions, which counts once."""
    pictures = grey(6, 64, 64)
    options = {"image_shape": (1, 64, 64), "dtype": "float64"}
    for model, x in (
        (small(), grey(6)),
        (sv.models.build("skip", **options), pictures),
        (sv.models.build("skip", latent="learned", **options), pictures),
    ):
        kl = kl_per_dimension(*codes(model, x, batch_size=4))
        scalar = getattr(model, "latent", "") == "scalar"
        assert kl.shape == (() if scalar else model.latent_shape)
        assert kl.sum() == pytest.approx(evaluate_deterministic(model, x).kl, rel=1e-9)


@pytest.mark.parametrize("data_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_psnr_is_that_of_images_in_0_to_1(monkeypatch, data_range):
    """Every other image is off by 0.1 in a third of its pixels: mse 0.01/6, on both scales."""
    model = small()
    model.data_range = low, high = data_range

    def off(x):
        y = np.array(x)
        if len(x) == 2:  # of three images: the first batch
            y[0].ravel()[:32] += 0.1 * (high - low)
        return y

    monkeypatch.setattr(model, "reconstruct", off)
    found = reconstruction_error(model, grey(3), batch_size=2)
    assert found.mse == pytest.approx(0.01 / 6)
    assert found.psnr == pytest.approx(10 * math.log10(600))


def test_without_an_error_psnr_is_infinite(monkeypatch):
    model = small()
    monkeypatch.setattr(model, "reconstruct", lambda x: x)
    assert reconstruction_error(model, grey(3)) == (0.0, math.inf)
    assert report(model, grey(3), rng())["reconstruction"] == {"mse": 0.0, "psnr": None}


@pytest.mark.parametrize("name", ["mlp", "conv", "ae", "skip"])
def test_reconstructions_are_at_mu(name):
    shape = (1, 64, 64) if name == "skip" else (1, 8, 8)
    model = sv.models.build(name, image_shape=shape, dtype="float64")
    x = grey(5, *shape[1:])
    pixels = next(batches(x, 5, dtype="float64"))
    expected = ((model.reconstruct(pixels) - pixels) ** 2).mean()
    assert reconstruction_error(model, x, batch_size=2).mse == pytest.approx(expected)


@pytest.mark.parametrize("skips", ["all", "none"])
def test_the_effect_of_z_tells_a_picture_past_z_from_one_through_z(skips):
    """Two hand-made models: the picture of one depends only on skips, that of the other on z."""
    options = {"image_shape": (1, 64, 64), "latent": "learned", "dtype": "float64"}
    model, images = sv.models.build("skip", skips=skips, **options), grey(3, 64, 64)
    x, noise = next(batches(images, 3, dtype="float64")), model.noise(3, rng())
    if skips == "all":
        for p in model.decoder[-1].up.parameters().values():
            p.value = np.zeros(p.value.shape)  # the input from below is zero
    found = effect_of_z(model, images, rng())
    if skips == "all":
        assert found.change == 0 and found.reconstruction == found.with_noise_for_z > 0
    else:
        assert found.change > 0 and found.with_noise_for_z != found.reconstruction
    own, other = model.reconstruct(x), model.generate(noise, skips_from=x)
    expected = [((a - b) ** 2).mean() for a, b in ((own, x), (other, x), (own, other))]
    np.testing.assert_allclose(found[:3], expected)


def test_the_effect_is_measured_on_images_in_0_to_1():
    """The variance is known: half of the pictures are black, half white. Also on the device."""
    x = np.zeros((4, 3, 32, 32), np.uint8)
    x[::2] = 255
    model = sv.models.build("celeba", image_shape=(3, 32, 32), latent_dim=2)
    assert effect_of_z(model, x, rng()).variance == pytest.approx(0.25)


USED, UNUSED = Effect(0.01, 0.1, 0.09, 0.07), Effect(0.07, 0.07, 0.0001, 0.07)


def test_a_healthy_model_gets_no_warning():
    assert collapse_warning(np.full(20, 0.5), USED) is None
    assert collapse_warning(np.array([0.5] * 3 + [0.0] * 17), USED) is None
    assert collapse_warning(np.float64(0.5), USED) is None


def test_a_collapse_is_described_by_what_was_seen():
    kl = np.array([10.29] + [0.001] * 19)
    assert collapse_warning(kl, UNUSED) == (
        "19 of 20 latent dimensions carry less than 0.01 nats each (KL 0.019 of 10.31 nats in "
        "total), and the decoder hardly uses z: random z changes the reconstruction by a mean "
        "square of 0.0001, while the variance of the images is 0.07; this looks like posterior "
        "collapse: try a smaller KL weight or a KL warm-up"
    )
    used = collapse_warning(kl, USED)
    assert used.startswith("19 of 20 ") and "the reconstruction still depends on z" in used


def test_pictures_that_go_past_z_are_told_from_a_collapse():
    text = collapse_warning(np.full(20, 0.5), UNUSED, skips=True)
    assert text.startswith("the decoder hardly uses z") and text.endswith(
        "with skips='none' it has only z"
    )
    scalar = collapse_warning(np.float64(0.001), UNUSED, skips=True)
    assert scalar.startswith(
        "the single mu and logvar of the latent grid carry only 0.001 nats, and"
    )


def test_a_decoder_without_z_is_warned_of():
    """Its first weight matrix is zero, so all codes give the same picture."""
    model = small()
    model.fc2.weight.value = 0 * model.fc2.weight.value
    assert effect_of_z(model, grey(5), rng()).change == 0
    assert "the decoder hardly uses z" in report(model, grey(5), rng())["warning"]


def test_the_report_is_what_the_functions_say():
    model, x = small(latent_dim=3), binarize(grey(9), rng())
    assert "nll" in report(model, grey(3), rng(), nll_samples=5, grey_levels=True)
    found = report(model, x, rng(5), nll_samples=20, nll_images=4)
    elbo_rng, nll_rng, effect_rng = rng(5).spawn(3)
    curve = importance_curve(model, x[spread(4, 9)], (1, 10, 20), nll_rng)
    error, (mu, logvar) = reconstruction_error(model, x), codes(model, x)
    kl = kl_per_dimension(mu, logvar)
    assert found == {
        "images": 9,
        "binary_pixels": True,
        "neg_elbo": neg_elbo(model, x, elbo_rng)._asdict(),
        "nll": {str(k): curve[k]._asdict() for k in (1, 10, 20)},
        "reconstruction": {"mse": error.mse, "psnr": error.psnr},
        "kl": kl.sum(),
        "kl_per_dimension": kl.tolist(),
        "active_units": active_units(mu),
        "effect_of_z": effect_of_z(model, x, effect_rng)._asdict(),
        "warning": collapse_warning(kl, effect_of_z(model, x, rng(5).spawn(3)[2])),
    }
    assert report(model, x, rng(5)) == {k: v for k, v in found.items() if k != "nll"}


def test_the_report_refuses_before_it_computes(monkeypatch):
    skip, ae, mlp = sv.models.build("skip", image_shape=(1, 64, 64)), small("ae"), small()
    for model in (skip, ae, mlp):
        monkeypatch.setattr(model, "encode", lambda x, keep=False: 1 / 0)
    for model, count, options, reason in (
        (skip, 2, {"nll_samples": 5}, "nll_samples needs a likelihood, but the decoder of Skip"),
        (ae, 2, {"nll_samples": 5}, "report: nll_samples needs a likelihood, but AE is not a VAE"),
        (mlp, 1, {}, "^report: expected at least 2 images, got 1$"),
        (mlp, 3, {"nll_samples": 5, "nll_images": 1}, "^report: nll_images: expected at least 2"),
        (mlp, 3, {"nll_samples": 5}, "grey_levels=True"),
        (mlp, 3, {"nll_samples": -5}, "expected numbers of samples"),
    ):
        with pytest.raises(ValueError, match=reason):
            report(model, grey(count, *model.image_shape[1:]), rng(), **options)


def test_a_decoder_that_answers_to_an_empty_code_is_a_collapse_all_the_same():
    """Noise in z changes the picture, but no dimension has information about the image."""
    effect = Effect(reconstruction=0.08, with_noise_for_z=0.1, change=0.02, variance=0.08)
    said = collapse_warning(np.full(20, 1e-5), effect)
    assert said.startswith("20 of 20 latent dimensions carry less than 0.01 nats each")
    assert "this looks like posterior collapse" in said


EVERY_MODEL = [
    ("mlp", {"image_shape": (1, 8, 8)}),
    ("mlp", {"image_shape": (1, 8, 8), "kl_weight": 4.0}),
    ("ae", {"image_shape": (1, 8, 8)}),
    ("conv", {"image_shape": (1, 8, 8)}),
    ("celeba", {"image_shape": (3, 32, 32)}),
    ("celeba", {"image_shape": (3, 32, 32), "kl_weight": 0}),
    ("skip", {"image_shape": (1, 64, 64)}),
    ("skip", {"image_shape": (1, 64, 64), "latent": "learned"}),
    ("skip", {"image_shape": (1, 64, 64), "skips": "none"}),
    ("skip", {"image_shape": (1, 64, 64), "skips": "none", "latent": "learned"}),
]


@pytest.mark.parametrize(("name", "options"), EVERY_MODEL)
def test_the_numbers_of_images_are_those_of_the_report(name, options, capsys):
    """And JSON can hold the report."""
    model = sv.models.build(name, **options, dtype="float64")
    x = grey(5, *model.image_shape)
    total = report(model, x, rng(3))
    assert model.training and capsys.readouterr() == ("", "")
    assert json.loads(json.dumps(total, allow_nan=False)) == total
    assert total["images"] == 5 and not total["binary_pixels"]
    assert ("neg_elbo" in total) != ("no_likelihood" in total)
    assert ("kl_per_dimension" in total) == (name != "ae")
    gaussian = name in ("celeba", "skip") and "neg_elbo" in total
    assert total.get("decoder_sigma") == (gaussian_decoder(model).sigma if gaussian else None)
    found = per_image(model, x, rng(3).spawn(1)[0], batch_size=2)
    assert all(a.shape == (5,) and a.dtype == "float64" for a in found.values())
    metrics = ("neg_elbo", "reconstruction", "kl")
    assert [*found] == [metric for metric in metrics if metric in total]
    if "neg_elbo" in total:
        at_once = neg_elbo(model, x, rng(3).spawn(1)[0], batch_size=2).value
        assert found["neg_elbo"].mean() == pytest.approx(at_once, rel=1e-12)
        kl = found["kl"] * model.shared_codes
        np.testing.assert_allclose(found["reconstruction"] + kl, found["neg_elbo"])
    else:
        assert found["reconstruction"].mean() == pytest.approx(total["reconstruction"]["mse"])
    if "kl" in total:
        assert found["kl"].mean() == pytest.approx(total["kl"], rel=1e-9)


def test_the_numbers_of_an_image_are_its_own(engine):
    model, x = small(), grey(4)
    both = per_image(model, x, rng(), batch_size=3)
    (x_last,) = batches(x[3:], 1, dtype="float64")
    mu, logvar = map(sv.asnumpy, model.encode(sv.asarray(x_last))[:2])
    kl = 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).sum()
    assert both["kl"][3] == pytest.approx(float(kl))
    alone = per_image(small("ae"), x[3:], rng())["reconstruction"]
    assert per_image(small("ae"), x, rng())["reconstruction"][3] == pytest.approx(alone[0])


def test_the_effect_of_z_is_measured_across_the_list(monkeypatch):
    """The first images of a folder sorted by class show one class."""
    monkeypatch.setattr(sv.evaluation.metrics, "FEW_IMAGES", 4)
    model = small()
    x = np.repeat(np.arange(4, dtype="uint8") * 80, 10)[:, None, None] + np.zeros((8, 8), "uint8")
    levels = np.arange(4) * 80 / 255
    variance = report(model, x, rng())["effect_of_z"]["variance"]
    assert variance == pytest.approx(levels.var())
