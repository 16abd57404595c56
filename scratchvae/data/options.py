"""How images are made from files and arrays: size, colours, crop, background, values.

The command line gives text, Python may give numbers; `image_options` checks both.
"""

import math
import re
from contextlib import suppress
from operator import index
from reprlib import repr as short  # a list may be long
from typing import Any, NamedTuple

MAX_SIDE = 4096  # pixels of the images that a model gets


class ImageOptions(NamedTuple):
    """How images are made from files or arrays; see `image_options`."""

    size: tuple[int, int] | str | None = None  # (height, width), "native", or the source's default
    grey: bool = False
    crop: str | int | None = None  # "center", "none", the side of a square, or the source's default
    background: tuple[int, int, int] | None = None  # red, green, blue; or the source's default
    value_range: tuple[float, float] | None = None  # the values of black and white


def image_options(
    image_size: int | str | tuple[int, int] | None = None,
    grey: bool = False,
    crop: str | int | None = None,
    background: str | tuple[int, int, int] | None = None,
    value_range: str | tuple[float, float] | None = None,
) -> ImageOptions:
    """Check the options of `load` about images, given as text or as numbers.

    Parameters
    ----------
    image_size : int, str or (height, width), optional
        28, "28", "64x80" (WIDTHxHEIGHT, as programs for pictures write it), (80, 64), or "native":
        the images keep their own size, which must be the same for all.
    grey : bool
        One channel instead of three.
    crop : {"center", "none"} or int, optional
        "center": the largest centred part with the proportions of image_size. "none": the whole
        image, stretched if need be. int: the side of a centred square.
    background : {"white", "black"}, "R,G,B" or (r, g, b), optional
        The colour behind transparent pixels.
    value_range : "BLACK,WHITE" or (black, white), optional
        The values of black and white in the files or arrays, such as (0, 1) for masks; (255, 0)
        makes ink on paper white on black.

    Returns
    -------
    ImageOptions
        The checked values.

    Raises
    ------
    ValueError
        If an option is invalid; names it.
    """
    if not isinstance(grey, bool):
        raise ValueError(f"grey: expected True or False, got {short(grey)}")
    return ImageOptions(
        _size(image_size), grey, _crop(crop), _background(background), _range(value_range)
    )


def _size(size: Any) -> tuple[int, int] | str | None:
    if size is None or size == "native":
        return size
    found = size
    if isinstance(size, str) and re.fullmatch(r"[0-9]{1,5}(x[0-9]{1,5})?", size):
        width, _, height = size.partition("x")
        found = (int(height or width), int(width))
    elif type(size) is int:
        found = (size, size)
    if not (
        isinstance(found, tuple)
        and len(found) == 2
        and all(type(side) is int and 1 <= side <= MAX_SIDE for side in found)
    ):
        raise ValueError(
            f"image_size: expected a number of pixels such as 64, WIDTHxHEIGHT such as 64x80 (at "
            f"most {MAX_SIDE} each) or native, got {short(size)}"
        )
    return found


def _crop(crop: Any) -> str | int | None:
    if crop in (None, "center", "none") or (type(crop) is int and crop >= 1):
        return crop
    raise ValueError(f"crop: expected center or none (or an int of at least 1), got {short(crop)}")


def _background(colour: Any) -> tuple[int, int, int] | None:
    named = {None: None, "white": (255, 255, 255), "black": (0, 0, 0)}
    if isinstance(colour, str | None) and colour in named:
        return named[colour]
    with suppress(ValueError, TypeError):
        text = isinstance(colour, str)
        red, green, blue = map(int, colour.split(",")) if text else map(index, colour)
        if all(0 <= level <= 255 for level in (red, green, blue)):
            return red, green, blue
    raise ValueError(
        f"background: expected white, black or R,G,B with levels from 0 to 255, got {short(colour)}"
    )


def _range(values: Any) -> tuple[float, float] | None:
    if values is None:
        return None
    with suppress(ValueError, TypeError):
        low, high = map(float, values.split(",") if isinstance(values, str) else values)
        if low != high and math.isfinite(low) and math.isfinite(high):
            return low, high
    raise ValueError(
        f"value_range: expected BLACK,WHITE, two different numbers such as 0,1, got {short(values)}"
    )
