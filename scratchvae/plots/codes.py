"""Pictures of a model's images and codes: a function for each kind.

Arrays may be on any device. `skips_from`, an image (1, C, H, W), is for `skip`: see
`latents.decoded`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..evaluation.latents import decoded, plane, posterior_codes
from ..models import VAE
from .images import (
    LINE_HEIGHT,
    SIDE,
    SPACE,
    Path,
    check_path,
    image_table,
    layout,
    sheet_of,
    too_large,
    write,
)

TICKS = (-2, -1, -0.5, 0, 0.5, 1, 2)  # of the latent plane
SMALLEST_PLANE = 400  # pixels, about


def reconstructions(
    model: Any, x: Any, path: Path, z: Any = None, names: Sequence[str] = (), columns: int = 0
) -> None:
    """Images x (N, C, H, W) over their reconstructions, in several pairs of rows if N > columns.

    Parameters
    ----------
    z : array (N, *latent_shape), optional
        Draws from q(z|x). Default: mu, or the codes of an autoencoder.
    names : sequence of str
        The names of the images. Default: none, they are test images.
    columns : int
        0: as many as make a page.
    """
    x, rows = asnumpy(x), ["images" if names else "test images", "reconstructions"]
    if isinstance(model, VAE):
        rows[1] += ", z = mu" if z is None else ", z ~ q(z|x)"
    z = posterior_codes(model, x) if z is None else asnumpy(z)
    images = decoded(model, z, x if model.has_skips else None)
    height, columns = layout(len(x), x.shape, columns, pairs=True)
    if height == 2:
        image_table([x, images], path, rows, names, model.data_range)
        return
    names = names or [f"image {i + 1}" for i in range(len(x))]
    table, labels = [], []
    for start in range(0, len(x), columns):
        part = slice(start, start + columns)
        table += [x[part], images[part]]
        ends = dict.fromkeys([names[part][0], names[part][-1]])  # one, if a row has one image
        labels += [" to ".join(ends), rows[1]]
    image_table(table, path, labels, data_range=model.data_range)


def samples(
    model: Any, z: Any, path: Path, columns: int = 0, temperature: float = 1, skips_from: Any = None
) -> None:
    """Decoded codes z (N, *latent_shape) ~ N(0, temperature^2 I), row by row, in so many columns
    (0: as many as make a page, at least 8)."""
    _, columns = layout(len(z), model.image_shape, columns)
    images = decoded(model, asnumpy(z), skips_from)
    prior = "N(0, I)" if temperature == 1 else f"N(0, {temperature:g}\N{SUPERSCRIPT TWO} I)"
    title = f"{len(images):,} decoded z ~ {prior}" + _skips(model, skips_from)
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    image_table(rows, path, data_range=model.data_range, title=title)


def interpolation(
    model: Any, z: Any, path: Path, pairs: Sequence[int] = (), skips_from: Any = None
) -> None:
    """Decoded codes, from one code to another in each row.

    Parameters
    ----------
    z : array (R, T, *latent_shape)
        From `latents.line` or `great_circle`, with T evenly spaced t.
    pairs : sequence of 2 R int
        Which test images these are, two for each row. Default: 0, 1, 2, ...
    """
    pairs = pairs or range(2 * len(z))
    rows = [f"test {a} to {b}" for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
    columns = [f"t = {t:.2f}" for t in np.linspace(0, 1, z.shape[1])]
    _table(model, z, path, rows, columns, skips_from)


def traversal(
    model: Any, z: Any, path: Path, dimensions: Sequence[int], values: Any, skips_from: Any = None
) -> None:
    """A row for each latent dimension, at these values: z (R, T, *latent_shape) from
    `latents.traversal`."""
    rows, columns = [f"z[{d}]" for d in dimensions], [f"{value:.2g}" for value in values]
    _table(model, z, path, rows, columns, skips_from)


def _table(
    model: Any, z: Any, path: Path, rows: list[str], columns: list[str], skips_from: Any
) -> None:
    images = decoded(model, asnumpy(z).reshape(-1, *model.latent_shape), skips_from)
    images = images.reshape(len(rows), len(columns), *model.image_shape)
    title = _skips(model, skips_from).removeprefix(", ")
    image_table(images, path, rows, columns, model.data_range, title)


def _skips(model: Any, skips_from: Any) -> str:
    if not model.has_skips:
        return ""
    return ", no skips added" if skips_from is None else ", all with the skips of one image"


def manifold(model: Any, path: Path, size: int = 20) -> None:
    """The decoded latent plane of a model with two latent dimensions, see `latents.plane`. Equal
    distances are equal shares of N(0, 1), so the ticks are not evenly spaced."""
    if model.latent_shape != (2,):
        raise ValueError(f"manifold: latent_shape must be (2,), got {model.latent_shape}")
    check_path("manifold", path)
    if problem := too_large(size, size, model.image_shape, gap=0):
        raise ValueError(f"manifold: {problem}")
    images = decoded(model, plane(size, model.dtype)).reshape(size, size, *model.image_shape)
    sheet = sheet_of("manifold", images, model.data_range, SIDE // 2, 0, SMALLEST_PLANE)
    (height, width), far = sheet.shape[:2], 2 * SPACE
    texts, lines = [(width / 2, -SPACE, "md", "decoded z at the quantiles of N(0, 1)")], []
    texts.append((width / 2, height + far + LINE_HEIGHT, "ma", "z[0]"))
    texts.append((-60, height / 2, "rm", "z[1]"))
    for value in TICKS:
        x, y = NormalDist().cdf(value) * width, NormalDist().cdf(-value) * height
        texts += [(x, height + far, "ma", f"{value:g}"), (-far, y, "rm", f"{value:g}")]
        lines += [(x, height, x, height + SPACE), (-SPACE, y, -1, y)]
    write(path, sheet, texts, lines)
