"""Images side by side: bare, for any number of images, or with labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..backend import asnumpy
from ..output import whole_file

DPI, LABELLED_SIZE = 100, 128  # pixels per inch; the longest side of a labelled image


def to_uint8(images: Any, data_range: tuple[float, float]) -> np.ndarray:
    """(N, C, H, W) in data_range -> (N, C, H, W) uint8; values outside are clipped."""
    low, high = data_range
    if asnumpy(images).dtype.kind not in "f":
        raise TypeError(f"to_uint8: images must be floats in data_range, got {images.dtype}")
    scaled = (asnumpy(images).astype("float64") - low) / (high - low)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype("uint8")


def image_grid(
    images: Any,
    path: str | os.PathLike[str],
    columns: int,
    data_range: tuple[float, float] = (0.0, 1.0),
    zoom: int = 3,
    gap: int = 1,
) -> None:
    """Write images side by side to a PNG, `columns` to a row, each pixel `zoom` x `zoom`.

    Parameters
    ----------
    images : array (N, C, H, W), C 1 or 3
    gap : int
        Pixels (before zooming) between images and around the grid.
    """
    sheet = _sheet("image_grid", images, columns, data_range, gap)
    sheet = sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)
    with whole_file(path) as file:
        Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(file, "PNG")


def _sheet(
    name: str, images: Any, columns: int, data_range: tuple[float, float], gap: int
) -> np.ndarray:
    """All images on one sheet, (height, width, C) uint8."""
    pixels = to_uint8(images, data_range)
    N, C, H, W = pixels.shape
    if C not in (1, 3):
        raise ValueError(f"{name}: images must have 1 or 3 channels, got shape {pixels.shape}")
    rows = -(-N // columns)
    sheet = np.full((rows * (H + gap) + gap, columns * (W + gap) + gap, C), 64, "uint8")
    for i, image in enumerate(pixels):
        top, left = gap + (i // columns) * (H + gap), gap + (i % columns) * (W + gap)
        sheet[top : top + H, left : left + W] = image.transpose(1, 2, 0)
    return sheet


def image_table(
    images: Any,
    path: str | os.PathLike[str],
    rows: Sequence[str],
    columns: Sequence[str] | None = None,
    data_range: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Write images in labelled rows and columns to a PNG.

    Parameters
    ----------
    images : array (R, K, C, H, W), C 1 or 3, or a sequence of R arrays
    rows, columns : sequence of str
        R labels on the left and, optionally, K labels on top.
    """
    images = np.stack([asnumpy(row) for row in images])
    R, K, _, H, W = images.shape
    columns = [""] * K if columns is None else columns
    if (len(rows), len(columns)) != (R, K):
        raise ValueError(
            f"image_table: {R} x {K} images need as many labels, got {len(rows)} x {len(columns)}"
        )
    zoom = max(1, LABELLED_SIZE // max(H, W))  # whole pixels: nothing is blurred
    sheet = _sheet("image_table", images.reshape(R * K, *images.shape[2:]), K, data_range, gap=1)
    height, width = (zoom * side for side in sheet.shape[:2])
    left, top = 16 + 7 * max(map(len, rows)), 28  # pixels; a letter of 9 points is at most 7 wide
    wide, high = left + width + 8, top + height + 8
    figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI)
    axes = figure.add_axes((left / wide, 8 / high, width / wide, height / high))
    axes.imshow(np.broadcast_to(sheet, (*sheet.shape[:2], 3)), interpolation="nearest")
    axes.set_xticks([k * (W + 1) + (W + 1) / 2 for k in range(K)], columns, fontsize=9)
    axes.set_yticks([r * (H + 1) + (H + 1) / 2 for r in range(R)], rows, fontsize=9)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    save(figure, path, dpi=DPI)


def save(figure: Figure, path: str | os.PathLike[str], dpi: int) -> None:
    """Write a figure to a PNG, whole or not at all."""
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=dpi)
