"""What a model makes of images and codes, as grids."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..evaluation.latents import decoded, line, plane, posterior_codes
from .images import image_grid


def reconstructions(model: Any, x: Any, path: str | os.PathLike[str]) -> None:
    """The images x in a row, over their reconstructions at z = mu, without noise."""
    pictures = np.concatenate([asnumpy(x), asnumpy(model.reconstruct(x))])
    image_grid(pictures, path, columns=len(x), data_range=model.data_range)


def interpolation(model: Any, pairs: Any, path: str | os.PathLike[str], steps: int = 10) -> None:
    """A row for each pair of consecutive images, decoded from evenly spaced codes."""
    if len(pairs) % 2:
        raise ValueError(f"interpolation: pairs must be an even number of images, got {len(pairs)}")
    codes = posterior_codes(model, asnumpy(pairs))
    between = line(codes[::2], codes[1::2], np.linspace(0, 1, steps))
    images = decoded(model, between.reshape(-1, *model.latent_shape))
    image_grid(images, path, columns=steps, data_range=model.data_range)


def manifold(model: Any, path: str | os.PathLike[str], size: int = 20) -> None:
    """The decoded latent plane of a model with two latent dimensions, see `latents.plane`."""
    if model.latent_shape != (2,):
        raise ValueError(f"manifold: latent_shape must be (2,), got {model.latent_shape}")
    images = decoded(model, plane(size, model.dtype))
    image_grid(images, path, size, model.data_range, zoom=2, gap=0)
