"""Images side by side on a sheet, for any number of images, with labels around it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from ..backend import asnumpy
from ..output import whole_file

Path = str | os.PathLike[str]
FONT = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", 13)
SIDE, SPACE, MARGIN = 128, 6, 8  # pixels: the longest side of an image; to its label; to the edge
LINE, LINE_HEIGHT = 24, 20  # letters in a line of a row's label; pixels
GREY = 64  # between images


def to_uint8(images: Any, data_range: tuple[float, float]) -> np.ndarray:
    """(N, C, H, W) in data_range -> (N, C, H, W) uint8; values outside are clipped."""
    images, (low, high) = asnumpy(images), data_range
    if images.dtype.kind != "f":
        raise TypeError(f"to_uint8: images must be floats in data_range, got {images.dtype}")
    scaled = (images.astype("float64") - low) / (high - low)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype("uint8")


def image_table(
    images: Any,
    path: Path,
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    data_range: tuple[float, float] = (0.0, 1.0),
    title: str = "",
) -> None:
    """Write images in rows and columns to a PNG, with labels.

    Parameters
    ----------
    images : array (R, K, C, H, W), C 1 or 3, or a sequence of R arrays
        The last row may have fewer than K images.
    rows, columns : sequence of str
        R labels on the left, K labels on top, or none.
    title : str
        At the very top.
    """
    counts = [len(row) for row in images]
    R, K = len(counts), counts[0]
    if len(rows) not in (0, R) or len(columns) not in (0, K):
        raise ValueError(
            f"image_table: {R} x {K} images need as many labels, got {len(rows)} x {len(columns)}"
        )
    if [*counts[:-1], max(counts)] != R * [K]:
        raise ValueError(
            f"image_table: expected rows of {K} images, the last row maybe fewer, got {counts}"
        )
    pixels = to_uint8(np.concatenate([asnumpy(row) for row in images]), data_range)
    zoom = max(1, SIDE // max(pixels.shape[2:]))
    sheet = sheet_of("image_table", pixels, K, zoom, gap=1)
    (high, wide), above = (np.array(sheet.shape[:2]) / (R, K)).tolist(), -SPACE
    texts = [(-SPACE, (r + 0.5) * high, "rm", fill(row, LINE)) for r, row in enumerate(rows)]
    texts += [((k + 0.5) * wide, above, "md", column) for k, column in enumerate(columns)]
    texts += [(K * wide / 2, above - LINE_HEIGHT * bool(columns), "md", title)]
    write(path, sheet, texts)


def sheet_of(name: str, pixels: np.ndarray, columns: int, zoom: int, gap: int) -> np.ndarray:
    """uint8 (N, C, H, W), `columns` to a row, with `gap` pixels between and around: (height, width,
    C). Each pixel becomes `zoom` x `zoom`: nothing is blurred."""
    N, C, H, W = pixels.shape
    if C not in (1, 3):
        raise ValueError(f"{name}: images must have 1 or 3 channels, got shape {pixels.shape}")
    rows = -(-N // columns)
    sheet = np.full((rows * (H + gap) + gap, columns * (W + gap) + gap, C), GREY, "uint8")
    for i, image in enumerate(pixels):
        top, left = gap + (i // columns) * (H + gap), gap + (i % columns) * (W + gap)
        sheet[top : top + H, left : left + W] = image.transpose(1, 2, 0)
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)


def write(
    path: Path,
    sheet: np.ndarray,
    texts: Sequence[tuple[float, float, str, str]],
    lines: Sequence[tuple[float, float, float, float]] = (),
) -> None:
    """Write a sheet to a PNG with texts (x, y, Pillow's anchor, text) and lines (x, y, x, y) around
    it; x and y count from the sheet's top left corner, and the picture has room for all texts."""
    measure = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox
    boxes = [measure((x, y), text, FONT, anchor) for x, y, anchor, text in texts if text]
    sides = np.array([*boxes, (0, 0, sheet.shape[1], sheet.shape[0])]) * (-1, -1, 1, 1)
    left, top, right, bottom = (MARGIN + np.ceil(sides.max(axis=0)).astype(int)).tolist()
    mode = "L" if sheet.shape[2] == 1 else "RGB"
    picture = Image.new(mode, (left + right, top + bottom), "white")
    picture.paste(Image.fromarray(sheet.squeeze(2) if mode == "L" else sheet), (left, top))
    draw = ImageDraw.Draw(picture)
    for x, y, anchor, text in texts:
        draw.text((left + x, top + y), text, "black", FONT, anchor, align="right")
    for x, y, to_x, to_y in lines:
        draw.line((left + x, top + y, left + to_x, top + to_y), "black")
    with whole_file(path) as file:
        picture.save(file, "PNG")


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a PNG, whole or not at all."""
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=120)
