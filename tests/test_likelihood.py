"""-ELBO and importance sampling, compared with a closed-form likelihood and with plain formulas."""

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
from linear_gaussian import LinearGaussian, images

import scratchvae as sv
from scratchvae.data import batches, binarize
from scratchvae.evaluation.likelihood import (
    gaussian_decoder,
    importance_curve,
    neg_elbo,
    no_likelihood,
)
from scratchvae.evaluation.scales import loss_scales
from scratchvae.train import evaluate_sampled

pytestmark = pytest.mark.usefixtures("few_channels")

WRONG = (0.2, 1.5)  # q(z|x) shifted from the posterior, and too wide


def rng(seed=0):
    return np.random.default_rng(seed)


def importance_nll(model, images, samples, rng, **options):
    return importance_curve(model, images, [samples], rng, **options)[samples]


def grey(n, size=8):
    return rng(2).integers(0, 256, (n, size, size), np.uint8)


def binary(n, size=8):
    return binarize(grey(n, size), rng(3))


def small(name="mlp", **options):
    return sv.models.build(name, latent_dim=3, image_shape=(1, 8, 8), dtype="float64", **options)


@pytest.mark.parametrize("samples", [1, 2, 7, 100])
def test_with_the_posterior_itself_every_number_of_samples_is_exact(samples):
    """Then all weights are p(x), so a wrong sign or a missing log K is noticed in each of them."""
    model, x = LinearGaussian(), images(20)
    found = importance_nll(model, x, samples, rng(), chunk_size=16)
    assert found.value == pytest.approx(model.nll(x).mean(), abs=1e-9)
    assert found.standard_error == pytest.approx(model.nll(x).std(ddof=1) / 20**0.5, abs=1e-9)
    assert found.images == 20
    curve = importance_curve(model, x, (samples, 300, 3), rng(), chunk_size=16)
    assert [*curve] == sorted({samples, 300, 3})
    for estimate in curve.values():
        assert estimate == pytest.approx(found, abs=1e-9)


def test_with_a_wrong_posterior_samples_make_up_for_it():
    """With K the estimate falls from the -ELBO, which is too high by KL(q || p(z|x)), to the exact
    value, and stays above it except for noise."""
    model, x, right = LinearGaussian(off=WRONG), images(150), LinearGaussian()
    exact = model.nll(x).mean()
    curve = importance_curve(model, x, (1, 10, 100, 1000, 5000), rng(), chunk_size=1000)
    assert [*curve] == [1, 10, 100, 1000, 5000]
    assert abs(curve[5000].value - exact) < 0.05
    values = [estimate.value for estimate in curve.values()]
    assert all(b <= a + 0.02 for a, b in pairwise(values))
    assert values[0] - values[-1] > 0.2

    variance = np.exp(right.encode(np.zeros((1, 1, 1, 6)))[1][0])
    stretch = WRONG[1] ** 2
    gap = 0.5 * (stretch - 1 - math.log(stretch) + WRONG[0] ** 2 / variance).sum()
    bound = neg_elbo(model, x.repeat(200, axis=0), rng())
    assert bound.value == pytest.approx(exact + gap, abs=0.05)
    assert bound.value > curve[5000].value


def test_a_weight_is_what_its_definition_says():
    """p(x|z) p(z) / q(z|x) from the densities of normal and Bernoulli variables, one by one. The
    noise comes image after image, (N, K, *latent_shape), so another program can draw it at once."""

    def log_normal(z, mean, deviation):
        return -0.5 * ((z - mean) / deviation) ** 2 - np.log(deviation * np.sqrt(2 * np.pi))

    model, x, K = small(), binary(4), 9
    pixels = next(batches(x, 4, dtype="float64"))
    mu, logvar = model.encode(pixels)
    generator, reference = rng(), rng()
    eps = model.noise(4 * K, reference).reshape(4, K, 3)
    expected = []
    for n in range(4):
        deviation = np.exp(logvar[n] / 2)
        z = mu[n] + deviation * eps[n]  # (K, 3)
        white = model.generate(z)[:, 0]
        log_p = np.log(np.where(x[n] == 255, white, 1 - white)).sum((1, 2))
        log_w = log_p + (log_normal(z, 0, 1) - log_normal(z, mu[n], deviation)).sum(1)
        expected.append(-np.log(np.exp(log_w).mean()))
    found = importance_nll(model, x, K, generator, chunk_size=4)
    assert found.value == pytest.approx(np.mean(expected), abs=1e-9)
    assert found.standard_error == pytest.approx(np.std(expected, ddof=1) / 2, abs=1e-9)
    assert generator.random() == reference.random()


def test_the_standard_error_is_that_of_the_images():
    model, x = small(), grey(25)
    pixels = next(batches(x, 25, dtype="float64"))
    eps = model.noise(25, rng(4))
    logits, mu, logvar = model.forward(pixels, eps)
    error = np.logaddexp(0, logits) - pixels * logits
    each = error.sum((1, 2, 3)) + 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).sum(1)
    assert neg_elbo(model, x, rng(4), batch_size=7) == pytest.approx(
        (each.mean(), each.std(ddof=1) / 5, 25), rel=1e-9
    )


def test_it_is_the_loss_of_evaluation_with_the_weight_one():
    """For every KL weight of the model."""
    x = grey(25)
    loss = evaluate_sampled(small(), x, rng(4), batch_size=7)
    for kl_weight in (0.0, 1.0, 4.0):
        found = neg_elbo(small(kl_weight=kl_weight), x, rng(4), batch_size=7)
        assert found.value == pytest.approx(loss.total, rel=1e-9)


def test_a_single_image_has_no_standard_error():
    found = neg_elbo(small(), grey(1), rng())
    assert math.isfinite(found.value) and math.isnan(found.standard_error) and found.images == 1


@pytest.mark.parametrize("chunk_size", [1, 7, 30, 31, 64, 1000])
def test_chunks_do_not_change_the_result(chunk_size):
    """30 samples per image: chunks of a part of an image, of one, of several, and of all images."""
    model, x, at = small(), binary(5), (1, 4, 13, 30)
    expected = importance_curve(model, x, at, rng(), chunk_size=150)
    found = importance_curve(model, x, at, rng(), chunk_size=chunk_size)
    for k in at:
        assert found[k] == pytest.approx(expected[k], abs=1e-9)


def test_a_chunk_is_never_exceeded(monkeypatch):
    """Memory is bounded for any number of samples and images."""
    model, seen = small(), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z, keep=False: seen.append(len(z)) or decode(z))
    for samples, count in ((50, 5), (8, 5), (3, 9)):
        importance_nll(model, binary(count), samples, rng(), chunk_size=8)
    assert max(seen) == 8 and sum(seen) == 50 * 5 + 8 * 5 + 3 * 9
    assert len(seen) == 7 * 5 + 5 + 5  # several images in one chunk if they fit


def test_weights_of_e_to_the_minus_thousands_do_not_underflow():
    model, x = LinearGaussian(sigma=0.003), images(3)
    found = importance_nll(model, x, 20, rng(), chunk_size=6)
    assert found.value == pytest.approx(model.nll(x).mean(), rel=1e-9) and found.value > 1000


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_every_engine_gives_the_same(engine, name):
    x, results = binary(3), []
    for chosen in (sv.backend.current_engine(), "numpy"):
        with sv.using(chosen):
            model = small(name)
            nll = importance_nll(model, x, 5, rng(), chunk_size=4)
            results.append((*neg_elbo(model, x, rng()), *nll))
    assert results[0] == pytest.approx(results[1], rel=1e-9)


def test_the_mode_comes_back_and_statistics_stay():
    model = sv.models.build("celeba", image_shape=(3, 32, 32), latent_dim=2)
    x = rng().integers(0, 256, (3, 3, 32, 32), np.uint8)
    state = model.state_dict()
    one_by_one = importance_nll(model, x, 2, rng(), chunk_size=1)
    together = importance_nll(model, x, 2, rng(), chunk_size=6)
    neg_elbo(model, x, rng())
    assert one_by_one == pytest.approx(together, rel=1e-5)  # with running statistics, not a batch's
    assert all(module.training for module in model.modules())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_a_failure_leaves_the_mode_as_it_was(monkeypatch):
    model = small()
    monkeypatch.setattr(model, "decode", lambda z, keep=False: 1 / 0)
    for run in (neg_elbo, lambda m, x, r: importance_nll(m, x, 2, r)):
        with pytest.raises(ZeroDivisionError):
            run(model, binary(2), rng())
        assert model.training


def test_the_gaussian_decoder_makes_the_loss_the_bound():
    """-ELBO = loss P / (2 sigma^2) + P log(2 pi sigma^2) / 2, at the sigma of the KL weight."""
    model = sv.models.build("celeba", image_shape=(3, 32, 32), latent_dim=2, dtype="float64")
    x = rng().integers(0, 256, (4, 3, 32, 32), np.uint8)
    loss, sigma, P = evaluate_sampled(model, x, rng()), gaussian_decoder(model).sigma, 3 * 32 * 32
    assert sigma == loss_scales(P, mean=0.00025, beta=1).sigma == math.sqrt(P * 0.00025 / 2)
    constant = P * math.log(2 * math.pi * sigma**2) / 2
    expected = loss.total * P / (2 * sigma**2) + constant
    assert neg_elbo(model, x, rng()).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("latent", ["scalar", "learned"])
@pytest.mark.slow
def test_one_mu_for_all_places_is_paid_for_at_each_of_them(latent):
    """z has a component for each position of the grid, and the KL of the bound is that of all."""
    model = sv.models.build(
        "skip", image_shape=(1, 64, 128), skips="none", latent=latent, dtype="float64"
    )
    x = rng().integers(0, 256, (4, 64, 128), np.uint8)
    loss, sigma, P = evaluate_sampled(model, x, rng()), gaussian_decoder(model).sigma, 64 * 128
    places = 6 * 2 if latent == "scalar" else 1
    constant = P * math.log(2 * math.pi * sigma**2) / 2
    found = neg_elbo(model, x, rng()).value
    reconstruction = loss.reconstruction * P / (2 * sigma**2) + constant
    assert found == pytest.approx(reconstruction + loss.kl * places, rel=1e-9)
    assert found == pytest.approx(loss.total * P / (2 * sigma**2) + constant, rel=1e-9)
    # with as many samples of z, the estimate from weights has the same expectation for K = 1
    many = importance_nll(model, x[:1].repeat(40, axis=0), 1, rng())
    bound = neg_elbo(model, x[:1].repeat(40, axis=0), rng(1))
    assert abs(many.value - bound.value) < 5 * (many.standard_error + bound.standard_error)


def with_skips(skips="all"):
    return sv.models.build("skip", image_shape=(1, 64, 64), skips=skips)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (small("ae"), "AE is not a VAE: it defines no distribution"),
        (with_skips(), r"through its skips \('all'\).*build the model with skips='none"),
        (with_skips("deep"), "through its skips .*'deep'"),
        (sv.models.build("celeba", kl_weight=0), "a KL weight of 0 would mean sigma = 0 for the G"),
    ],
)
def test_models_without_a_likelihood(model, reason):
    x = np.zeros((2, *model.image_shape), np.uint8)
    with pytest.raises(ValueError, match=f"neg_elbo: .*{reason}"):
        neg_elbo(model, x, rng())
    with pytest.raises(ValueError, match=f"importance sampling: .*{reason}"):
        importance_nll(model, x, 2, rng())
    assert no_likelihood(with_skips("none")) is None


def test_grey_levels_have_no_bernoulli_likelihood_unless_asked():
    model, x = small(), binary(2)
    x[1, 3, 3] = 254
    with pytest.raises(
        ValueError, match=r"0 and 255.*, but .* binarize\(images, rng\), or pass grey"
    ):
        importance_nll(model, x, 2, rng())
    asked = importance_nll(model, x, 2, rng(), grey_levels=True)
    x[1, 3, 3] = 255
    assert asked.value == pytest.approx(importance_nll(model, x, 2, rng()).value, abs=0.1)


@pytest.mark.parametrize("shape", [(0, 8, 8), (2, 7, 8), (2, 3, 8, 8)])
def test_images_of_another_shape(shape):
    x = np.zeros(shape, np.uint8)
    for run in (neg_elbo, lambda m, x, r: importance_nll(m, x, 2, r)):
        with pytest.raises(ValueError, match=r"at least one image( of shape \(1, 8, 8\)|, found)"):
            run(small(), x, rng())


@pytest.mark.parametrize("at", [(), (0,), (5, -1), (2.5,)])
def test_numbers_of_samples_are_counts(at):
    with pytest.raises(ValueError, match="expected numbers of samples and a chunk_size of at lea"):
        importance_curve(small(), binary(2), at, rng())
    with pytest.raises(ValueError, match="and 0"):
        importance_nll(small(), binary(2), 3, rng(), chunk_size=0)


def test_weights_that_are_not_numbers_are_no_result():
    model = small()
    model.fc3.bias.value[3] = np.nan
    for run in (neg_elbo, lambda m, x, r: importance_nll(m, x, 2, r)):
        with pytest.raises(ValueError, match="the value of 2 of 2 images is not finite"):
            run(model, binary(2), rng())


def test_it_prints_nothing(capsys, monkeypatch):
    """The progress bar is shown only in terminals."""
    importance_nll(small(), binary(2), 2, rng())
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    importance_nll(small(), binary(2), 2, rng())
    assert "importance sampling" in capsys.readouterr().err
