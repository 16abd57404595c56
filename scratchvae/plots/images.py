"""Images side by side on a sheet, for any number of images, with labels around it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..backend import asnumpy
from ..output import whole_file
from .drawing import FONTS

Path = str | os.PathLike[str]
FONT = ImageFont.truetype(f"{FONTS}/DejaVuSans.ttf", 13)
SIDE, SPACE, MARGIN = 128, 6, 8  # pixels: the longest side of an image; to its label; to the edge
PAGE = 2048  # pixels: images are not enlarged beyond this side of the whole sheet
MOST_SIDE, MOST_PIXELS = 1 << 14, 1 << 25  # of a sheet; few programs show larger pictures
LINE, LINE_HEIGHT = 24, 20  # letters in a line of a row's label; pixels
AT_A_TIME = 256  # images
GREY = 64  # between images


def to_uint8(images: Any, data_range: tuple[float, float], name: str = "to_uint8") -> np.ndarray:
    """(N, C, H, W) in data_range -> (N, C, H, W) uint8; values outside are clipped.

    TypeError if they are not floats, ValueError if one is not finite; `name` begins the message.
    """
    images, (low, high) = asnumpy(images), data_range
    if images.dtype.kind != "f":
        raise TypeError(f"{name}: images must be floats in data_range, got {images.dtype}")
    pixels = np.empty(images.shape, "uint8")
    for start in range(0, len(images), AT_A_TIME):  # copies of floats take much memory
        part = images[start : start + AT_A_TIME]
        if lost := part.size - np.count_nonzero(np.isfinite(part)):
            raise ValueError(
                f"{name}: expected finite numbers, got {lost:,} pixels of NaN or infinity in "
                f"images {start} to {start + len(part) - 1}; check the weights of the model"
            )
        scaled = (part - low) * (255 / (high - low))
        pixels[start : start + AT_A_TIME] = np.rint(np.clip(scaled, 0, 255, scaled), scaled)
    return pixels


def layout(
    count: int, image_shape: Sequence[int], columns: int = 0, pairs: bool = False
) -> tuple[int, int]:
    """Rows and columns of a page of `count` images, or of pairs one above the other; without
    `columns` (0) the page is about square, or one short row."""
    (H, W), each = image_shape[-2:], 1 + pairs
    columns = columns or max(12 if pairs else 8, math.ceil(math.sqrt(each * count * H / W)))
    return each * math.ceil(count / columns), min(columns, count)


def too_large(rows: int, columns: int, image_shape: Sequence[int], gap: int = 1) -> str | None:
    """Why so many images are too much for one picture; None if they are not."""
    H, W = image_shape[-2:]
    height, width = rows * (H + gap) + gap, columns * (W + gap) + gap
    if max(height, width) <= MOST_SIDE and height * width <= MOST_PIXELS:
        return None
    return (
        f"{columns:,} x {rows:,} images would make a picture of {width:,} x {height:,} pixels; "
        f"expected at most {MOST_SIDE:,} on a side and {MOST_PIXELS:,} in all"
    )


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
        K is that of the longest row. Labels without space are left out.
    rows, columns : sequence of str
        R labels on the left, K labels on top, or none.
    title : str
        At the very top.

    Raises
    ------
    ValueError, TypeError
        If shapes, dtype, labels or path are invalid, a pixel is not finite, or the picture gets
        too large.
    """
    check_path("image_table", path)
    found = [asnumpy(row) for row in images]
    shapes, R = [row.shape for row in found], len(found)
    if len({shape[1:] for shape in shapes}) != 1 or len(shapes[0]) != 4 or 0 in shapes[0]:
        raise ValueError(
            "image_table: expected rows (K, C, H, W) of images of one shape, got shapes "
            f"{[*dict.fromkeys(shapes)]}; pass one row as [images], and images without channels as "
            "images[:, None]"
        )
    K, (_, H, W) = max(map(len, found)), shapes[0][1:]
    if len(rows) not in (0, R) or len(columns) not in (0, K):
        raise ValueError(
            f"image_table: {R} x {K} images need as many labels, got {len(rows)} x {len(columns)}"
        )
    if problem := too_large(R, K, (H, W)):
        raise ValueError(f"image_table: {problem}")
    sheet = sheet_of("image_table", found, data_range, SIDE)
    (high, wide), above = (np.array(sheet.shape[:2]) / (R, K)).tolist(), -SPACE
    rows, columns = [fill(plain(row), LINE) for row in rows], [*map(plain, columns)]
    left = [(-SPACE, (r + 0.5) * high, "rm", row) for r, row in enumerate(rows)]
    top = [((k + 0.5) * wide, above, "md", column) for k, column in enumerate(columns)]
    # Where labels would overlap, only every second or third is written.
    tallest = LINE_HEIGHT * max((1 + row.count("\n") for row in rows), default=1)
    widest = SPACE + max(map(FONT.getlength, columns), default=1)
    texts = left[:: math.ceil(tallest / high)] + top[:: math.ceil(widest / wide)]
    texts += [(K * wide / 2, above - LINE_HEIGHT * bool(columns), "md", plain(title))]
    write(path, sheet, texts)


def check_path(name: str, path: Path) -> None:
    """ValueError, which begins with the name of the function, if this is no path of a PNG."""
    if not str(os.fspath(path)).lower().endswith(".png"):
        raise ValueError(f"{name}: expected a path that ends in .png, got {os.fspath(path)}")


def plain(text: str) -> str:
    """The text on one line; control characters and undecodable bytes as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def sheet_of(
    name: str,
    rows: Sequence[np.ndarray] | np.ndarray,
    data_range: tuple[float, float],
    side: int,
    gap: int = 1,
    least: int = 0,
) -> np.ndarray:
    """Rows of images (K, C, H, W) with `gap` pixels between and around: uint8 (height, width, C).
    Each pixel becomes a square, so nothing is blurred: as large as `side` for an image and PAGE for
    the sheet allow, but the sheet has at least about `least` pixels."""
    K, (C, H, W) = max(map(len, rows)), rows[0].shape[1:]
    if C not in (1, 3):
        raise ValueError(f"{name}: images must have 1 or 3 channels, got shape {rows[0].shape}")
    sheet = np.full((len(rows) * (H + gap) + gap, K * (W + gap) + gap, C), GREY, "uint8")
    for r, row in enumerate(rows):
        for k, image in enumerate(to_uint8(row, data_range, name)):
            top, left = gap + r * (H + gap), gap + k * (W + gap)
            sheet[top : top + H, left : left + W] = image.transpose(1, 2, 0)
    longest = max(sheet.shape)
    zoom = max(1, min(side // max(H, W), PAGE // longest), least // longest)
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
