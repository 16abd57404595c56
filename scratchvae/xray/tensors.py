"""The arrays of a page: a small picture of each, a few facts about it, and its numbers as text,
which tensors.js unpacks."""

from __future__ import annotations

import base64
import io
import zlib
from functools import cache
from math import ceil, isqrt
from typing import Any

import numpy as np

SMALL = 4096  # numbers; of a larger array of the batch the page has the first image
MOST_PIXELS = 112  # on a side
TILES = 64  # channels of a map, or kernels of a weight
BARS, BAR_HEIGHT = 100, 28
GAP, BAD = 254, 255  # palette entries: transparent, and not finite
LEVELS = 127  # on each side of zero
POSITIVE, NEGATIVE, WHITE = (214, 96, 22), (30, 98, 190), (247, 247, 247)


class Tensors:
    """The arrays of the page, each once; its number is its position in `about`.

    `about` is what a reader sees of each array: facts and a picture. `packed` has the
    numbers of those whose numbers are in the page.
    """

    def __init__(self, batch: int, colours: bool) -> None:
        self.about: list[dict[str, Any]] = []
        self.packed: dict[int, str] = {}
        self._batch, self._colours = batch, colours
        self._known: dict[tuple[Any, ...], int] = {}
        self._alive: list[np.ndarray] = []

    def add(self, a: Any, weight: bool = False) -> int:
        """Add an array, unless it is there; returns its number."""
        a = np.asarray(a)
        where = a.__array_interface__["data"][0]
        key = (where, a.shape, a.strides, str(a.dtype)) if a.ndim else (str(a), str(a.dtype))
        if key not in self._known:
            self._known[key] = len(self.about)
            self._alive.append(a)  # so that no other array takes its memory
            image = picture(a, weight, self._colours)
            self.about.append(facts(a, weight) | ({"picture": image} if image else {}))
        return self._known[key]

    def with_numbers(self, a: Any, weight: bool = False) -> int:
        """Add an array with its numbers: all of a weight or of a small array; otherwise those of
        the first image."""
        k = self.add(a, weight)
        a = np.asarray(a)
        if a.ndim and k not in self.packed:
            part = a if weight or a.size <= SMALL or len(a) != self._batch else a[:1]
            self.about[k]["stored"] = part.shape
            self.packed[k] = packed(part)
        return k


def facts(a: np.ndarray, weight: bool = False) -> dict[str, Any]:
    """What the page says about an array, as far as there is something to say.

    shape, dtype, mean, std (deviation), min, max, first (numbers); zeros: their share; bad: how
    many numbers are NaN or infinite; dead: how many channels or units are zero in all images, which
    weights do not have; value: of a number.
    """
    finite = a[np.isfinite(a)]
    wide = finite.astype("float64")
    found: dict[str, Any] = {"shape": a.shape, "dtype": str(a.dtype)}
    if finite.size and a.ndim:
        most = abs(wide).max() or 1.0  # so that no square overflows
        numbers = wide.mean(), most * (wide / most).std(), finite.min(), finite.max()
        found |= dict(zip(("mean", "std", "min", "max"), map(float, numbers), strict=True))
        found["zeros"] = float((finite == 0).mean())
        found["first"] = [str(number) for number in a.ravel()[:4]]
    elif a.ndim == 0:
        found["value"] = float(a) if finite.size else str(a)
    found["bad"] = a.size - finite.size
    if a.ndim >= 2 and a.size and a.dtype.kind == "f" and not weight:
        units = np.moveaxis(a, 1, 0).reshape(a.shape[1], -1)
        found["dead"] = int((units == 0).all(axis=1).sum())
    silent = [name for name in ("zeros", "bad", "dead") if not found.get(name)]
    return {name: fact for name, fact in found.items() if name not in silent}


def packed(a: np.ndarray) -> str:
    """The numbers as text: byte 0 of each, then byte 1, ..., compressed (deflate), in base64. The
    first bytes of floats resemble each other, so they are compressed better side by side."""
    planes = np.ascontiguousarray(a, a.dtype.newbyteorder("<")).reshape(-1, 1).view("uint8").T
    deflate = zlib.compressobj(6, wbits=-15)
    return base64.b64encode(deflate.compress(planes.tobytes()) + deflate.flush()).decode()


def picture(a: np.ndarray, weight: bool = False, image: bool = False) -> str:
    """A PNG of the array as a data URI, or "" for a number.

    Parameters
    ----------
    weight : bool
        Draw a convolution's kernels as tiles, with a row for each output channel. Otherwise the
        first axis counts images, and the first image is drawn: its channels as tiles, or a vector
        as bars.
    image : bool
        Draw three channels as the colours of one image.
    """
    from PIL import Image

    if a.ndim == 0 or a.size == 0 or a.dtype.kind not in "fiub":
        return ""
    a = a.astype("float64")
    first = a if weight or a.ndim == 1 else a[0]
    if image and not weight and a.ndim == 4 and a.shape[1] == 3:
        low, high = float(a.min()), float(a.max())
        levels = np.nan_to_num((first - low) / ((high - low) or 1) * 255)
        drawn = Image.fromarray(levels.transpose(1, 2, 0).astype("uint8"))
    else:
        drawn = Image.fromarray(_levels(_flat(first, weight)), "P")
        drawn.putpalette(_palette(first.ndim == 1 or bool((a < 0).any())))
    file = io.BytesIO()
    transparent: Any = {"transparency": GAP} if drawn.mode == "P" else {}
    drawn.save(file, "PNG", optimize=True, **transparent)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _flat(a: np.ndarray, weight: bool) -> np.ndarray:
    """The array on a plane: NaN is a gap. Infinities and NaN of the array are drawn as infinity."""
    a = np.where(np.isnan(a), np.inf, a)
    if a.ndim == 1:
        return _bars(a)
    if a.ndim == 2:
        return _thinned(a)
    if a.ndim == 3:
        tiles = a[:TILES]
        columns = ceil(len(tiles) ** 0.5)
        return _tiled(tiles, columns)
    if a.ndim == 4 and weight and a.shape[1] == 1:
        return _flat(a[:, 0], False)
    if a.ndim == 4 and weight:
        side = isqrt(TILES)
        kernels = a[:side, :side]
        return _tiled(kernels.reshape(-1, *a.shape[2:]), kernels.shape[1])
    if a.ndim == 5:  # windows (C, OH, OW, KH, KW): a row for each window, as im2col has it
        a = np.moveaxis(a, 0, 2)
        return _thinned(a.reshape(a.shape[0] * a.shape[1], -1))
    return _thinned(a.reshape(a.shape[0], -1))


def _tiled(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles (K, H, W) side by side with a gap between them."""
    K, H, W = tiles.shape
    rows = ceil(K / columns)
    plane = np.full((rows * (H + 1) - 1, columns * (W + 1) - 1), np.nan)
    for k, tile in enumerate(tiles):
        i, j = divmod(k, columns)
        plane[i * (H + 1) : i * (H + 1) + H, j * (W + 1) : j * (W + 1) + W] = tile
    return _thinned(plane)


def _thinned(a: np.ndarray) -> np.ndarray:
    """Every second, third, ... row and column of a plane that is too large."""
    steps = (ceil(side / MOST_PIXELS) for side in a.shape)
    return a[tuple(slice(None, None, step) for step in steps)]


def _bars(a: np.ndarray) -> np.ndarray:
    """A vector as bars from zero, the largest of several neighbours where it is too long."""
    width = ceil(len(a) / BARS)
    groups = [a[i : i + width] for i in range(0, len(a), width)]
    a = np.array([group[abs(group).argmax()] for group in groups])
    finite = a[np.isfinite(a)]
    low, high = min(0.0, finite.min(initial=0)), max(0.0, finite.max(initial=0))
    height = BAR_HEIGHT - 1
    at = np.round((np.where(np.isfinite(a), a, high) - low) / ((high - low) or 1) * height)
    zero = round(-low / ((high - low) or 1) * height)
    rows = np.arange(BAR_HEIGHT)[::-1, None]  # the highest first
    filled = (rows >= np.minimum(at, zero)) & (rows <= np.maximum(at, zero))
    return np.where(filled, np.where(a == 0, 1e-30, a), np.nan)


def _levels(plane: np.ndarray) -> np.ndarray:
    """Palette entries: `LEVELS` is zero."""
    finite = plane[np.isfinite(plane)]
    most = abs(finite).max(initial=0) or 1.0
    levels = np.round(np.clip(np.nan_to_num(plane / most), -1, 1) * (LEVELS - 1)) + LEVELS
    return np.where(np.isnan(plane), GAP, np.where(np.isinf(plane), BAD, levels)).astype("uint8")


@cache
def _palette(signed: bool) -> list[int]:
    """Blue to white to orange for numbers of both signs, black to white for positive ones."""
    colours = []
    for level in range(256):
        t = (level - LEVELS) / (LEVELS - 1)
        if level == GAP:
            colour: tuple[int, ...] = (128, 128, 128)
        elif level == BAD:
            colour = (255, 0, 255)
        elif signed:
            end = POSITIVE if t > 0 else NEGATIVE
            colour = tuple(round(w + (e - w) * abs(t)) for w, e in zip(WHITE, end, strict=True))
        else:
            colour = (round(max(t, 0) * 255),) * 3
        colours += [*colour]
    return colours
