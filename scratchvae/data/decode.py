"""From JPEG and PNG files to pixels of one size, on all cores.

A centred square is cut out and resized with bilinear weights, as in most papers on faces. Pillow
does the work, without the interpreter lock.
"""

import io
import math
import os
import re
import threading
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..output import open_file

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

GROUP = 32  # files in a task: with one file in a task, decoding takes a fifth longer
MAX_PIXELS = 1 << 26  # 64 megapixels, 256 MB decoded; a header of 33 bytes can promise any size
MAX_BYTES = 1 << 28  # of a file: as many as the pixels
START_OF_SCAN = b"\xff\xda"
MAX_SCANS = 1000  # of a JPEG, usually about 10; a scan of 100 bytes can visit every pixel
LARGE = 1 << 24  # pixels; with transparency each needs 20 bytes, in every thread
MAX_SIDE = 4096  # of the images that a model gets
ONE_LARGE_AT_A_TIME = threading.Lock()  # otherwise every core might need a gigabyte

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
    value_range : "LOW,HIGH" or (low, high), optional
        The values of black and white in the files or arrays, such as (0, 1) for masks.

    Raises
    ------
    ValueError
        If an option is invalid; names it.
    """
    return ImageOptions(
        _size(image_size), bool(grey), _crop(crop), _background(background), _range(value_range)
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
            f"most {MAX_SIDE} each) or native, got {size!r}"
        )
    return found


def _crop(crop: Any) -> str | int | None:
    if crop in (None, "center", "none") or (type(crop) is int and crop >= 1):
        return crop
    raise ValueError(f"crop: expected center or none (or an int of at least 1), got {crop!r}")


def _background(colour: Any) -> tuple[int, int, int] | None:
    named = {None: None, "white": (255, 255, 255), "black": (0, 0, 0)}
    if isinstance(colour, str | None) and colour in named:
        return named[colour]
    with suppress(ValueError, TypeError):
        parts = colour.split(",") if isinstance(colour, str) else colour
        red, green, blue = map(int, parts)
        if all(0 <= level <= 255 for level in (red, green, blue)):
            return red, green, blue
    raise ValueError(
        f"background: expected white, black or R,G,B with levels from 0 to 255, got {colour!r}"
    )


def _range(values: Any) -> tuple[float, float] | None:
    if values is None:
        return None
    with suppress(ValueError, TypeError):
        low, high = map(float, values.split(",") if isinstance(values, str) else values)
        if -math.inf < low < high < math.inf:
            return low, high
    raise ValueError(f"value_range: expected LOW,HIGH such as 0,1, got {values!r}")


Decoded = NDArray[np.uint8] | str  # the pixels, or why there are none


def decode(path: str, size: int, crop: int | None) -> NDArray[np.uint8]:
    """Read a JPEG or PNG file, cut out its centred square and resize it: (3, size, size).

    EXIF turns the image upright; transparency becomes white. `crop` is the side of the square;
    None, or more than the image has, takes the largest. A damaged file can raise any exception.
    """
    from PIL import Image  # here, for `import scratchvae` to stay fast

    # If Pillow opens the file, it allocates the 4 GB that a file of 75 bytes can claim to need.
    with open_file(path, MAX_BYTES) as file:
        content = file.read()
    with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
        pixels = image.width * image.height  # according to the header; nothing is decoded yet
        if pixels > MAX_PIXELS:
            raise ValueError(
                f"expected at most {MAX_PIXELS} pixels, found {image.width} x {image.height}"
            )
        scans = 0 if image.format == "PNG" else content.count(START_OF_SCAN)
        if scans > MAX_SCANS:
            raise ValueError(f"expected at most {MAX_SCANS} scans, found {scans}")
        with ONE_LARGE_AT_A_TIME if pixels > LARGE else nullcontext():
            return _square(image, size, crop)


def _square(image: "Picture", size: int, crop: int | None) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    image.load()
    with suppress(Exception):  # a damaged EXIF block does not spoil the image
        ImageOps.exif_transpose(image, in_place=True)
    side = min(image.width, image.height, crop or image.width)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    square = image.crop((left, top, left + side, top + side))
    if square.mode.startswith("I"):  # 16 bits of grey; convert() would clip them at 255
        square = Image.fromarray((np.asarray(square) >> 8).astype(np.uint8))
    if square.has_transparency_data:
        white = Image.new("RGBA", square.size, "white")
        square = Image.alpha_composite(white, square.convert("RGBA"))
    if square.mode != "RGB":
        square = square.convert("RGB")
    square = square.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))  # (3, size, size)


def decode_or_reason(path: str, size: int, crop: int | None) -> Decoded:
    """As `decode`; if that fails, the reason in a few words."""
    try:
        return decode(path, size, crop)
    except MemoryError:  # the file may be fine
        raise
    except Exception as error:
        if type(error).__name__ == "UnidentifiedImageError":
            return "neither JPEG nor PNG"
        return getattr(error, "strerror", None) or str(error) or type(error).__name__


def decode_all(
    paths: Sequence[str], size: int, crop: int | None, ahead: int
) -> Generator[Decoded, None, None]:
    """Decode files in order on all cores, about `ahead` results early; close() stops it."""

    def decode_group(start: int) -> list[Decoded]:
        return [decode_or_reason(path, size, crop) for path in paths[start : start + GROUP]]

    waiting: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(cores())
    try:
        with warnings.catch_warnings():
            # Pillow warns about sizes and metadata; many warnings would hide the progress bar.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            for start in range(0, len(paths), GROUP):
                waiting.append(pool.submit(decode_group, start))
                if len(waiting) * GROUP > ahead:
                    yield from waiting.popleft().result()
            for group in waiting:
                yield from group.result()
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """The number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
