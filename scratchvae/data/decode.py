"""From image files to pixels of one size, on all cores. Pillow does the work, without the
interpreter lock.

Each image is turned upright, cropped, laid over a background and resized with bilinear weights.
"""

import errno
import io
import os
import threading
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..output import open_file
from .options import ImageOptions

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # Pillow's names
GROUP = 32  # files in a task: with one file in a task, decoding takes a fifth longer
MAX_PIXELS = 1 << 26  # 64 megapixels, 256 MB decoded; a header of 33 bytes can promise any size
MAX_BYTES = 1 << 28  # of a file: as many as the pixels
START_OF_SCAN = b"\xff\xda"
MAX_SCANS = 1000  # of a JPEG, usually about 10; a scan of 100 bytes can visit every pixel
LARGE = 1 << 24  # pixels; with transparency each needs 20 bytes, in every thread
ONE_LARGE_AT_A_TIME = threading.Lock()  # otherwise every core might need a gigabyte

# Reading fails because of the file, or its name; any other error is the machine's.
OF_THE_FILE = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR,
    errno.ENAMETOOLONG,
}  # fmt: skip


class MachineFault(OSError):
    """A file could not be read, but may be sound: another attempt may succeed."""


Decoded = NDArray[np.uint8] | str  # the pixels, or why there are none


def decode(content: bytes, options: ImageOptions) -> NDArray[np.uint8]:
    """The first frame of an image file: (C, H, W), C = 1 if grey, else 3.

    Without a size, it keeps its own. Any exception may be raised if the content is damaged.
    """
    from PIL import Image, ImageOps  # here, for `import scratchvae` to stay fast

    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        pixels = image.width * image.height  # according to the header; nothing is decoded yet
        if pixels > MAX_PIXELS:
            raise ValueError(
                f"expected at most {MAX_PIXELS} pixels, found {image.width} x {image.height}"
            )
        scans = content.count(START_OF_SCAN) if image.format in ("JPEG", "MPO") else 0
        if scans > MAX_SCANS:
            raise ValueError(f"expected at most {MAX_SCANS} scans, found {scans}")
        with ONE_LARGE_AT_A_TIME if pixels > LARGE else nullcontext():
            image.load()
            # A JPEG file without either block is upright: looking would take 3 % of the time.
            if image.format != "JPEG" or image.info.keys() & {"exif", "xmp"}:
                with suppress(Exception):  # a damaged EXIF block does not spoil the image
                    ImageOps.exif_transpose(image, in_place=True)
            return render(image, options)


def render(image: "Picture", options: ImageOptions) -> NDArray[np.uint8]:
    """Crop an image, lay it over the background and resize it, as `options` say: (C, H, W)."""
    from PIL import Image

    width, height = image.size
    H, W = options.size if isinstance(options.size, tuple) else (height, width)
    if isinstance(options.size, tuple) and options.crop != "none":
        if isinstance(options.crop, int):
            across = down = min(width, height, options.crop)
        else:  # the largest part with the proportions of the result
            across = max(1, min(width, round(height * W / H)))
            down = max(1, min(height, round(width * H / W)))
        left, top = round((width - across) / 2), round((height - down) / 2)
        image = image.crop((left, top, left + across, top + down))
    image = _eight_bits(image, options.value_range)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, options.background or (255, 255, 255))
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    mode = "L" if options.grey else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (W, H):
        image = image.resize((W, H), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if options.grey else pixels.transpose(2, 0, 1))


def _eight_bits(image: "Picture", value_range: tuple[float, float] | None) -> "Picture":
    """The image with levels from 0 to 255, and `value_range` from black to white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # more than 8 bits of grey; convert() would clip them
        values = np.asarray(image)
        if value_range is None and image.mode == "F":
            raise ValueError(
                "floating-point pixels: give a value_range (--value-range BLACK,WHITE)"
            )
        low, high = value_range or (0, 65535)
        _check_range(values, low, high)
        if value_range is None:
            levels = values >> 8
        else:
            levels = np.rint(255 * ((values - low) / (high - low)))
        grey = Image.fromarray(levels.astype(np.uint8))
        clear = image.info.get("transparency")  # of 16-bit PNG files: the one value that is clear
        if isinstance(clear, int):
            grey = Image.merge("LA", (grey, Image.fromarray((values != clear).astype("u1") * 255)))
        return grey
    if value_range is None:
        return image
    low, high = value_range
    if image.mode == "1":  # its only values are black and white
        return image if low < high else image.convert("L").point(lambda level: 255 - level)
    if max(low, high) > 255:
        raise ValueError(
            f"read with values from 0 to 255 in {image.mode}: give a value_range within these"
        )
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colours = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    _check_range(np.asarray(colours), low, high)
    steps = np.clip((np.arange(256) - low) / (high - low), 0, 1)
    colours = colours.point(np.rint(255 * steps).astype(int).tolist() * len(colours.getbands()))
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def _check_range(values: NDArray[Any], low: float, high: float) -> None:
    low, high = sorted((low, high))
    if not (low <= values.min() and values.max() <= high):
        raise ValueError(
            f"expected values from {low:g} to {high:g}, found {values.min():g} to "
            f"{values.max():g}: give another value_range (--value-range BLACK,WHITE)"
        )


def decode_or_reason(path: str, options: ImageOptions) -> Decoded:
    """As `decode`, of a file; if the file is at fault, the reason in a few words.

    MachineFault: the machine is at fault.
    """
    # If Pillow opens the file, it allocates the 4 GB that a file of 75 bytes can claim to need.
    try:
        with open_file(path, MAX_BYTES) as file:
            content = file.read()
    except ValueError as error:
        return str(error)
    except OSError as error:
        if error.errno in OF_THE_FILE:
            return os.strerror(error.errno)
        why = f"{error.strerror or error}: what is decoded is kept: try again"
        raise MachineFault(error.errno, why, path) from None
    try:
        return decode(content, options)
    except MemoryError:  # the file may be fine
        raise
    except Exception as error:
        if type(error).__name__ == "UnidentifiedImageError":
            return "not an image"
        return str(error) or type(error).__name__


def decode_all(
    paths: Sequence[str], options: ImageOptions, ahead: int
) -> Generator[Decoded, None, None]:
    """Decode files in order on all cores, about `ahead` results early; close() stops it."""
    group = min(GROUP, ahead)

    def decode_group(start: int) -> list[Decoded]:
        return [decode_or_reason(path, options) for path in paths[start : start + group]]

    waiting: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(cores())
    try:
        with warnings.catch_warnings():
            # Pillow warns about sizes and metadata; many warnings would hide the progress bar.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            for start in range(0, len(paths), group):
                waiting.append(pool.submit(decode_group, start))
                if len(waiting) * group > ahead:
                    yield from waiting.popleft().result()
            for ready in waiting:
                yield from ready.result()
    finally:
        pool.shutdown(cancel_futures=True)


def made_with() -> dict[str, str]:
    """The libraries whose versions decide the pixels of image files."""
    from PIL import features

    known = {"libjpeg": "libjpeg_turbo", "libwebp": "webp"}  # other formats lose nothing
    found = {name: features.version(feature) for name, feature in known.items()}
    return {"Pillow": version("pillow")} | {name: text for name, text in found.items() if text}


def cores() -> int:
    """The number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
