"""Photographs in the other formats: WebP, BMP, TIFF, GIF and PPM, whole and damaged."""

import io
from functools import cache

import numpy as np
from fuzz_image import MEGABYTES, parser
from mutating import mutated
from PIL import Image

__all__ = ["MEGABYTES", "build", "parser", "seeds"]

SAVED = (
    *(("WEBP", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("GIF", {}), ("PPM", {})),
    *(("TIFF", {"compression": kind}) for kind in (None, "tiff_lzw", "tiff_deflate", "packbits")),
)
MODES = ("RGB", "L", "1", "P", "RGBA", "I;16", "CMYK", "F")


@cache
def seeds():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    found = []
    for form, options in SAVED:
        for mode in MODES:
            image = Image.fromarray(pixels)
            image = image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)
            with io.BytesIO() as file:
                try:
                    image.save(file, form, **options)
                except (OSError, ValueError, KeyError):  # the format does not have this mode
                    continue
                found.append(file.getvalue())
    return found


def build(random):
    return mutated(random.choice(seeds()), random, seeds())
