"""Walks through the latent space: arrays, without pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchvae as sv
from scratchvae.evaluation import latents

pytestmark = pytest.mark.usefixtures("few_channels")


@pytest.fixture(scope="module")
def model():
    return sv.models.build("mlp", latent_dim=3, seed=0)


def build_skip(**options):
    return sv.models.build("skip", seed=0, **options)


def images(count, shape=(1, 28, 28), seed=0):
    return np.random.default_rng(seed).random((count, *shape), dtype="float32")


def test_batches_change_nothing(model, monkeypatch):
    """Drawn codes, codes of images and images of codes, in batches of 4 and at once."""
    x = images(10)

    def everything():
        z = latents.prior_codes(model, 10, np.random.default_rng(1))
        drawn = latents.posterior_codes(model, x, np.random.default_rng(1))
        return z, drawn, latents.posterior_codes(model, x), latents.decoded(model, z)

    at_once = everything()
    monkeypatch.setattr(latents, "BATCH", 4)
    for part, whole in zip(everything(), at_once, strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-6)
        assert part.dtype == "float32" and len(part) == 10


def test_no_batch_is_larger_than_it_may_be(model, monkeypatch):
    """So that any number of codes can be decoded in bounded memory."""
    seen = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda z: (seen.append(len(z)), generate(z))[1])
    assert latents.decoded(model, np.zeros((1203, 3), "float32")).shape == (1203, 1, 28, 28)
    assert seen == [500, 500, 203]


def test_prior_codes_are_standard_normal_times_the_temperature(model):
    z = latents.prior_codes(model, 20_000, np.random.default_rng(0))
    assert abs(z.mean()) < 0.02 and z.std(axis=0) == pytest.approx([1, 1, 1], abs=0.02)
    cold = latents.prior_codes(model, 5, np.random.default_rng(0), temperature=0.5)
    np.testing.assert_array_equal(cold, 0.5 * z[:5])


def test_drawn_codes_have_the_mean_and_deviation_of_the_posterior(model):
    x = np.repeat(images(1), 20_000, axis=0)
    mu, logvar = (a[0] for a in model.encode(x[:1]))
    z = latents.posterior_codes(model, x, np.random.default_rng(0))
    std = np.exp(logvar / 2)
    np.testing.assert_allclose((z.mean(axis=0) - mu) / std, 0, atol=0.03)
    np.testing.assert_allclose(z.std(axis=0) / std, 1, atol=0.02)
    np.testing.assert_allclose(latents.posterior_codes(model, x[:1])[0], mu, rtol=1e-6)


def test_an_autoencoder_has_codes_but_no_distribution():
    ae = sv.models.build("ae", latent_dim=3, seed=0)
    assert latents.posterior_codes(ae, images(2)).shape == (2, 3)
    with pytest.raises(ValueError, match="expected a VAE to draw z from, got AE"):
        latents.posterior_codes(ae, images(2), np.random.default_rng(0))


@pytest.mark.parametrize("latent", ["scalar", "learned"])
def test_skip_draws_a_code_for_every_place(latent):
    skip = build_skip(latent=latent)
    z = latents.posterior_codes(skip, images(2, (3, 64, 64)), np.random.default_rng(0))
    assert z.shape == (2, 6, 1, 1) and len(np.unique(z)) == z.size


@pytest.mark.slow
def test_skips_come_from_the_images_that_lend_them():
    skip, x = build_skip(), images(3, (3, 64, 64))
    z = latents.posterior_codes(skip, x)
    np.testing.assert_allclose(latents.decoded(skip, z, x), skip.reconstruct(x), atol=1e-6)
    one = latents.decoded(skip, z, x[1:2])
    np.testing.assert_allclose(one, skip.generate(z, np.repeat(x[1:2], 3, axis=0)), atol=1e-6)
    assert np.abs(one - latents.decoded(skip, z)).max() > 1e-3


def test_a_model_without_skips_takes_none(model):
    assert not model.has_skips
    assert build_skip(skips="deep").has_skips
    assert not build_skip(skips="none").has_skips
    with pytest.raises(ValueError, match="skips_from is for skip; MLP has no skips"):
        latents.decoded(model, np.zeros((1, 3), "float32"), images(1))


def pairs(seed, shape, count=3):
    return np.random.default_rng(seed).standard_normal((2, count, *shape))


SHAPES = st.sampled_from([(2,), (7,), (3, 2, 2)])


@given(st.integers(0, 1000), SHAPES)
def test_both_ways_lead_from_one_code_to_the_other(seed, shape):
    a, b = pairs(seed, shape)
    t = np.linspace(0, 1, 5)
    for way in (latents.line, latents.great_circle):
        codes = way(a, b, t)
        assert codes.shape == (3, 5, *shape)
        np.testing.assert_allclose(codes[:, 0], a, atol=1e-9)
        np.testing.assert_allclose(codes[:, -1], b, atol=1e-9)
    np.testing.assert_allclose(latents.line(a, b, t)[:, 2], (a + b) / 2)


@given(st.integers(0, 1000), SHAPES)
def test_a_great_circle_turns_evenly_and_keeps_the_length(seed, shape):
    a, b = pairs(seed, shape)
    a, b = (
        v / np.linalg.norm(v.reshape(3, -1), axis=1).reshape(3, *[1] * len(shape)) for v in (a, b)
    )
    codes = latents.great_circle(a, b, np.linspace(0, 1, 6)).reshape(3, 6, -1)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=2), 1)
    steps = (codes[:, 1:] * codes[:, :-1]).sum(axis=2)  # cosines
    np.testing.assert_allclose(steps, steps[:, :1] + 0 * steps, atol=1e-9)


def test_a_great_circle_between_codes_of_one_direction_is_a_line():
    a = np.array([[1.0, 2.0]])
    t = np.linspace(0, 1, 4)
    for b in (a, 3 * a):
        np.testing.assert_allclose(latents.great_circle(a, b, t), latents.line(a, b, t))


def test_a_great_circle_needs_directions_that_are_not_opposite():
    a, t = np.array([[1.0, 2.0]]), np.linspace(0, 1, 4)
    with pytest.raises(ValueError, match="point in opposite directions"):
        latents.great_circle(a, -2 * a, t)
    with pytest.raises(ValueError, match="expected codes that are not zero, got zeros"):
        latents.great_circle(a, 0 * a, t)


def test_a_line_needs_as_many_codes_at_both_ends():
    with pytest.raises(
        ValueError, match=r"line: a and b must have one shape, got \(2, 3\) and \(1"
    ):
        latents.line(np.zeros((2, 3)), np.zeros((1, 3)), np.linspace(0, 1, 4))


def test_a_line_is_exact_at_its_ends_in_float32():
    a, b = pairs(0, (5,)).astype("float32") * [[[1e-3]], [[1e3]]]
    a, b = a.astype("float32"), b.astype("float32")
    codes = latents.line(a, b, np.linspace(0, 1, 7))
    assert codes.dtype == "float32" == latents.great_circle(a, b, np.linspace(0, 1, 7)).dtype
    np.testing.assert_array_equal(codes[:, 0], a)
    np.testing.assert_array_equal(codes[:, -1], b)


@pytest.mark.parametrize("shape", [(4,), (2, 1, 2)])
def test_a_traversal_changes_one_number_at_a_time(shape):
    base = np.arange(4.0, dtype="float32").reshape(shape)
    codes = latents.traversal(base, [3, 0], np.array([-1.0, 8.0]))
    assert codes.shape == (2, 2, *shape) and codes.dtype == "float32"
    assert codes.reshape(2, 2, 4).tolist() == [
        [[0, 1, 2, -1], [0, 1, 2, 8]],
        [[-1, 1, 2, 3], [8, 1, 2, 3]],
    ]


def test_the_most_active_dimensions_vary_most_and_come_first():
    codes = np.random.default_rng(0).standard_normal((500, 2, 2)) * [[1, 5], [0, 3]]
    assert latents.most_active(codes + 100, 3) == [1, 3, 0]
    assert latents.most_active(codes, 10) == [1, 3, 0, 2]
    assert latents.most_active(np.ones((5, 3)), 2) == [0, 1]


def test_the_plane_has_equal_shares_of_the_prior():
    codes = latents.plane(4).reshape(4, 4, 2)
    assert codes.dtype == "float32"
    assert (np.diff(codes[..., 0], axis=1) > 0).all(), "z[0] grows to the right"
    assert (np.diff(codes[..., 1], axis=0) < 0).all(), "z[1] grows upwards"
    np.testing.assert_allclose(codes[0, :, 0], [-1.15035, -0.31864, 0.31864, 1.15035], atol=1e-5)
    np.testing.assert_allclose(codes[::-1, 0, 1], codes[0, :, 0])
