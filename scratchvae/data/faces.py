"""Faces without a download: 9,000 painted portraits in colour, a stand-in for CelebA.

Fifty factors, such as smile, glasses and light, decide each image of 64 x 64 pixels; `portraits`
paints it. The factors are the true latent space, which a model never sees. Painted faces are easier
than photographs, so losses cannot be compared with published ones.
"""

import os

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, drawn_dataset
from .portraits import SIZE, draw

VERSION = 1  # raise it with every change, here or in `portraits`, that changes a pixel

# Each factor is uniform between two ends: lengths in pixels, angles in degrees, or shares of a
# palette or of half the width or height of the face. x points right, y down.
RANGES: dict[str, tuple[float, float]] = {
    "x": (-3, 3),  # centre of the head, from the centre of the picture
    "y": (-1, 3),
    "tilt": (-12, 12),  # ear to shoulder
    "turn": (-3, 3),  # looking left or right: how far the features slide over the face
    "nod": (-1.5, 1.5),  # looking up or down
    "light": (-80, 80),  # from the left, the front, the right
    "contrast": (0.25, 0.75),  # of light and shade
    "sky_hue": (0, 1),  # the background blends two colours
    "sky_value": (0.1, 1.1),
    "ground_hue": (0, 1),
    "ground_value": (0.1, 1.1),
    "horizon": (-180, 180),  # the direction from sky to ground
    "clothes_hue": (0, 1),
    "clothes_value": (0.1, 1),
    "skin_tone": (0, 1),  # dark to light
    "width": (14, 17.5),  # of half the face
    "height": (18, 21.5),
    "jaw": (-0.05, 0.14),  # square to pointed
    "hair_tone": (0, 1),  # black, brown, red, fair, white
    "volume": (1, 5),  # of hair, over the skull
    "hairline": (0.45, 0.75),  # low to high forehead
    "parting": (-2.5, 2.5),  # on one side or the other
    "length": (0, 0.8),  # of long hair, below the chin
    "curl": (0, 1),  # straight to wavy
    "stubble": (0.4, 1),  # beards of a day to beards of a year
    "eye_colour": (0, 1),  # brown, hazel, green, blue, grey
    "eye_size": (3, 4.2),
    "openness": (0.35, 1),  # nearly closed to wide open
    "spacing": (0.41, 0.5),  # of the eyes
    "gaze_x": (-1.3, 1.3),
    "gaze_y": (-0.7, 0.7),
    "brow_height": (3.8, 5.8),
    "brow_slant": (-0.2, 0.15),  # worried to grim
    "brow_weight": (0.6, 1.4),
    "nose_length": (0.26, 0.38),
    "nose_width": (1.8, 3.4),
    "smile": (-0.6, 1.2),  # corners down, corners up
    "mouth_width": (4.5, 7.5),
    "mouth_open": (0, 2.1),
    "lips": (0.9, 1.8),
    "rim_hue": (0, 1),  # of the glasses
    "rim_value": (0, 0.8),
    "hat_hue": (0, 1),
    "hat_value": (0.15, 1),
}
# The probability that a feature is present (1) rather than absent (0).
CHANCES = {"hair": 0.9, "long": 0.45, "fringe": 0.35, "beard": 0.2, "glasses": 0.25, "hat": 0.12}


def load_faces(
    seed: int = 0,
    train_count: int = 8_000,
    test_count: int = 1_000,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Paint the faces, or load them from the cache.

    Parameters
    ----------
    seed, train_count, test_count, cache_dir
        As for `load_glyphs`; of the libraries, only NumPy's version matters.

    Returns
    -------
    Dataset
        Named ``"faces"``; images (N, 3, 64, 64) of uint8, no labels.
    """
    return drawn_dataset(
        "faces",
        lambda count, rng: {"images": draw(draw_factors(count, rng))},
        {"images": (3, SIZE, SIZE)},
        (train_count, test_count),
        seed,
        VERSION,
        made_with(),
        cache_dir,
    )


def made_with() -> dict[str, str]:
    """The library whose version decides the pixels."""
    return {"NumPy": np.__version__}


def draw_factors(count: int, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Draw a float32 array (count,) for each factor, in the order of `RANGES`, then `CHANCES`."""
    amounts = {name: rng.uniform(*ends, count) for name, ends in RANGES.items()}
    presence = {name: rng.random(count) < chance for name, chance in CHANCES.items()}
    return {name: values.astype(np.float32) for name, values in (amounts | presence).items()}
