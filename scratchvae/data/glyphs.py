"""Digits without a download: 12,000 images drawn from the fonts that matplotlib installs.

White on black, about 20 x 20 pixels in a frame of 28 x 28, as in MNIST. Printed digits are easier
than written ones, so losses cannot be compared with published ones. How an image is made:

1. **master**: the digit in one font, its stroke widened a little, four times too large: it fills
   80 of 112 pixels. Each master (font x digit x stroke) is made once;
2. **warp**: out = A (in - centre) + centre + shift, with A = rotation . shear . scale, made smaller
   if a corner of the digit would come too close to the edge;
3. **reduce**: each block of 4 x 4 pixels becomes its mean; hence the soft, grey edges.
"""

import hashlib
import os
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .dataset import Arrays, Dataset, drawn_dataset

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION = 1  # raise it with every change that changes a pixel
SIZE, OVERSAMPLING = 28, 4
CANVAS = SIZE * OVERSAMPLING
BODY = 20 * OVERSAMPLING  # MNIST's digits fit a box of 20 x 20 as well
REACH = 12.5 * OVERSAMPLING  # largest distance of the ink from the centre
FONT_SIZE = 96

# Pixels of a 96-pixel font by which an outline may grow. Without it, hairlines would vanish at
# 28 x 28; too much would close the holes of a bold 8.
HAIRLINE, REGULAR, BOLD = (1, 2, 3, 4), (0, 1, 2, 4), (0, 1)
FONTS: dict[str, tuple[int, ...]] = {
    "DejaVuSans.ttf": REGULAR,
    "DejaVuSans-Bold.ttf": BOLD,
    "DejaVuSans-Oblique.ttf": REGULAR,
    "DejaVuSansMono.ttf": REGULAR,
    "DejaVuSansMono-Oblique.ttf": REGULAR,
    "DejaVuSerif.ttf": REGULAR,
    "DejaVuSerif-Bold.ttf": BOLD,
    "DejaVuSerif-Italic.ttf": REGULAR,
    "STIXGeneral.ttf": HAIRLINE,
    "STIXGeneralBol.ttf": BOLD,
    "STIXGeneralItalic.ttf": HAIRLINE,
    "STIXGeneralBolIta.ttf": BOLD,
    "cmb10.ttf": BOLD,
    "cmr10.ttf": HAIRLINE,
    "cmss10.ttf": REGULAR,
    "cmti10.ttf": HAIRLINE,
    "cmtt10.ttf": REGULAR,
}


def load_glyphs(
    seed: int = 0,
    train_count: int = 10_000,
    test_count: int = 2_000,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Draw the digits, or load them from the cache.

    Parameters
    ----------
    seed : int
        The same seed, counts and library versions give the same images.
    train_count, test_count : int
        Each of the ten digits occurs equally often, in random order.
    cache_dir : str or path-like, optional
        The folder for the drawn images; by default in the user's cache folder.

    Returns
    -------
    Dataset
        Named ``"glyphs"``; images (N, 28, 28) and labels (N,), all uint8.

    Raises
    ------
    ModuleNotFoundError, FileNotFoundError
        If matplotlib or its fonts are not installed.
    ValueError
        If a count is negative.
    """
    fonts = find_fonts()

    def draw_part(count: int, rng: np.random.Generator) -> Arrays:
        labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
        return {"images": draw(labels, rng, fonts), "labels": labels}

    return drawn_dataset(
        "glyphs",
        draw_part,
        {"images": (SIZE, SIZE), "labels": ()},
        (train_count, test_count),
        seed,
        VERSION,
        made_with(),
        cache_dir,
    )


def made_with() -> dict[str, str]:
    """The libraries whose versions decide the pixels, and a digest of the fonts. Raises as
    `find_fonts`."""
    from PIL import features

    fonts = hashlib.sha256()
    for font in find_fonts():
        fonts.update(font.read_bytes())
    return {
        "NumPy": np.__version__,
        "Pillow": version("pillow"),
        "FreeType": str(features.version("freetype2")),
        "matplotlib": version("matplotlib"),
        "fonts": fonts.hexdigest()[:12],
    }


def find_fonts() -> list[Path]:
    """The `FONTS` that matplotlib has installed, found without importing it."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("glyphs need the fonts of matplotlib: install matplotlib")
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    fonts = [folder / name for name in FONTS if (folder / name).is_file()]
    if not fonts:
        raise FileNotFoundError(f"expected DejaVu, STIX or cm fonts in {folder}, found none")
    return fonts


def draw(
    labels: NDArray[np.uint8], rng: np.random.Generator, fonts: list[Path]
) -> NDArray[np.uint8]:
    """Draw a digit for each label, white on black: (N,) -> (N, 28, 28)."""
    count = len(labels)
    # All random numbers first, each kind as one array.
    which_font = rng.integers(len(fonts), size=count)
    which_stroke = rng.random(count)
    angle = np.deg2rad(rng.uniform(-15, 15, count))
    shear = rng.uniform(-0.25, 0.25, count)
    scale = rng.uniform(0.85, 1.08, (count, 2))
    shift = rng.uniform(-2.0, 2.0, (count, 2)) * OVERSAMPLING
    images = np.empty((count, SIZE, SIZE), np.uint8)
    for i, digit in enumerate(labels):
        font = fonts[which_font[i]]
        strokes = FONTS[font.name]
        master = _master(font, str(digit), strokes[int(which_stroke[i] * len(strokes))])
        images[i] = _warp(master, _matrix(angle[i], shear[i], scale[i]), shift[i])
    return images


def _matrix(angle: float, shear: float, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1.0, -shear], [0.0, 1.0]])  # y points down: a positive shear leans right
    return rotation @ slant @ np.diag(scale)


@cache
def _master(font: Path, digit: str, stroke: int) -> "Image":
    """Draw a digit into a tight box whose longer side is `BODY`."""
    from PIL import Image, ImageDraw, ImageFont

    # The basic layout engine: not every build of Pillow has the other one, Raqm.
    face = ImageFont.truetype(str(font), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    page = Image.new("L", (2 * FONT_SIZE, 2 * FONT_SIZE))
    corner = (FONT_SIZE // 2, FONT_SIZE // 4)
    ImageDraw.Draw(page).text(corner, digit, fill=255, font=face, stroke_width=stroke)
    box = page.getbbox()
    if box is None:
        raise ValueError(f"{font}: expected a font with digits, found no ink for {digit!r}")
    tight = page.crop(box)
    ratio = BODY / max(tight.size)
    width, height = (max(1, round(side * ratio)) for side in tight.size)
    return tight.resize((width, height), Image.Resampling.BICUBIC)


def _warp(
    master: "Image", matrix: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Warp a master into the frame, within `REACH`."""
    from PIL import Image

    # The box |x| <= w/2, |y| <= h/2 reaches |A| (w/2, h/2) after the warp.
    reach = np.abs(matrix) @ (np.array(master.size) / 2)
    fit = min(1.0, REACH / reach.max())
    matrix, reach = matrix * fit, reach * fit
    shift = np.clip(shift, reach - REACH, REACH - reach)
    # Pillow expects the inverse map: from a pixel of the frame to its point in the master.
    back = np.linalg.inv(matrix)
    offset = np.array(master.size) / 2 - back @ (CANVAS / 2 + shift)
    coefficients = (*back[0], offset[0], *back[1], offset[1])
    frame = master.transform(
        (CANVAS, CANVAS), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(frame.reduce(OVERSAMPLING))
