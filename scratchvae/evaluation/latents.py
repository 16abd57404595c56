"""Paths through the latent space of a trained model. Codes and images are NumPy arrays.

Sources: Shoemake, "Animating rotation with quaternion curves" (SIGGRAPH 1985), and White, "Sampling
generative networks" (arXiv:1609.04468), section 2.1, for the great circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from ..backend import asnumpy, to_device
from ..models import VAE, Model
from ..ops import reparameterize_forward
from .likelihood import posterior

BATCH = 500  # images in one call of the model


def posterior_codes(
    model: Model, x: np.ndarray, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The code of each image x (N, C, H, W), in evaluation mode: (N, *latent_shape).

    The images are in the model's data_range and dtype. `rng` draws z ~ q(z|x); ValueError if the
    model is no VAE. Without it z = mu, or the one code of an autoencoder.
    """
    if rng is not None and not isinstance(model, VAE):
        raise ValueError(
            f"posterior_codes: expected a VAE to draw z from, got {type(model).__name__}, which "
            "gives each image one code and no distribution"
        )

    def codes(images: Any) -> Any:
        if rng is None:
            return model.embed(images)
        with model.evaluating():
            mu, logvar = posterior(model, images)
        return reparameterize_forward(mu, logvar, model.noise(len(images), rng))[0]

    return np.concatenate([*_parts(model, codes, x)])


def prior_codes(
    model: Model, count: int, rng: np.random.Generator, temperature: float = 1.0
) -> np.ndarray:
    """`count` draws from N(0, temperature^2 I): (count, *latent_shape). A temperature below 1 gives
    cleaner, more similar pictures. A larger count only appends codes."""
    codes = asnumpy(model.noise(count, rng))
    return codes * codes.dtype.type(temperature)


def decoded(model: Model, z: np.ndarray, skips_from: np.ndarray | None = None) -> np.ndarray:
    """The image of each code z (N, *latent_shape), in evaluation mode: (N, *image_shape), in
    data_range. `skips_from`, images (N, C, H, W) or (1, C, H, W), lend their skips; ValueError if
    the model has none. See `Skip.generate`."""
    return np.concatenate([*decoded_parts(model, z, skips_from)])


def decoded_parts(
    model: Model, z: np.ndarray, skips_from: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """The images of `decoded`, at most BATCH at a time."""
    if skips_from is None:
        return _parts(model, model.generate, z)
    if not model.has_skips:
        raise ValueError(f"decoded: skips_from is for skip; {type(model).__name__} has no skips")
    skips_from = np.broadcast_to(skips_from, (len(z), *model.image_shape))
    return _parts(model, model.generate, z, skips_from)


def _parts(model: Model, function: Callable[..., Any], *arrays: np.ndarray) -> Iterator[np.ndarray]:
    """`function` of the arrays, BATCH rows at a time, on the model's device."""
    for start in range(0, len(arrays[0]), BATCH):
        parts = [to_device(a[start : start + BATCH].copy(), model.device) for a in arrays]
        yield asnumpy(function(*parts))


def line(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(1 - t) a + t b for each t.

    Parameters
    ----------
    a, b : array (N, *latent_shape)
    t : array (T,)
        0 gives exactly a, 1 exactly b.

    Returns
    -------
    array (N, T, *latent_shape)
    """
    if a.shape != b.shape:
        raise ValueError(f"line: a and b must have one shape, got {a.shape} and {b.shape}")
    t = t.astype(a.dtype).reshape(-1, *(1,) * (a.ndim - 1))
    return (1 - t) * a[:, None] + t * b[:, None]


def great_circle(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b, w the angle from a to b; arguments as
    `line`.

    Codes of equal length keep that length. In D dimensions draws from N(0, I) have lengths close to
    sqrt(D); the middle of a straight line is shorter than almost all of them. ValueError if a code
    is zero or a and b have opposite directions.
    """
    flat_a, flat_b = (v.reshape(len(v), -1).astype("float64") for v in (a, b))
    lengths = np.linalg.norm(flat_a, axis=1) * np.linalg.norm(flat_b, axis=1)
    if not lengths.all():
        raise ValueError("great_circle: expected codes that are not zero, got zeros")
    angle = np.arccos(np.clip((flat_a * flat_b).sum(axis=1) / lengths, -1, 1))[:, None]  # (N, 1)
    if (angle > np.pi - 1e-6).any():  # rounding may make a half turn a little smaller
        raise ValueError(
            "great_circle: two codes point in opposite directions, so the great circle between "
            "them is not unique: use a straight line"
        )
    w = angle / np.pi  # np.sinc(w) = sin(angle) / angle, and 1 where a and b have one direction
    share_a = (1 - t) * np.sinc((1 - t) * w) / np.sinc(w)  # (N, T)
    share_b = t * np.sinc(t * w) / np.sinc(w)
    codes = share_a[:, :, None] * flat_a[:, None] + share_b[:, :, None] * flat_b[:, None]
    return codes.astype(a.dtype).reshape(*share_a.shape, *a.shape[1:])


def traversal(base: np.ndarray, dimensions: Sequence[int], values: np.ndarray) -> np.ndarray:
    """`base` with one number (in memory order) replaced: (dimensions, values, *latent_shape)."""
    codes = np.tile(base.ravel(), (len(dimensions), len(values), 1))
    for row, dimension in zip(codes, dimensions, strict=True):
        row[:, dimension] = values
    return codes.reshape(*codes.shape[:2], *base.shape)


def most_active(codes: np.ndarray, at_most: int) -> list[int]:
    """The dimensions in which the codes (N, *latent_shape) vary most, the most active one first.
    The variance of mu over the data is the activity of Burda et al. (arXiv:1509.00519), section 5;
    it is nearly 0 for a dimension that the decoder ignores."""
    variance = codes.reshape(len(codes), -1).var(axis=0, dtype="float64")
    return [int(d) for d in np.argsort(-variance, kind="stable")[:at_most]]


def plane(size: int, dtype: Any = "float32") -> np.ndarray:
    """size^2 codes of two numbers, row by row, the second number upwards: (size * size, 2). They
    are the (i + 1/2) / size quantiles of N(0, 1) along each axis, equal shares of the prior."""
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / size) for i in range(size)], dtype)
    upwards, to_the_right = np.meshgrid(quantiles[::-1], quantiles, indexing="ij")
    return np.stack([to_the_right, upwards], axis=-1).reshape(-1, 2)
