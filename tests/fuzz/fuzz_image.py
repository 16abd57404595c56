"""Photographs: PNG chunks and JPEG segments with valid lengths and sums, and wrong content."""

import warnings

import fuzz_jpeg
import fuzz_png

from scratchvae.data.decode import decode_or_reason
from scratchvae.data.options import image_options

MEGABYTES = 2000  # of address space: 64 megapixels with transparency take 1.3 GB


def seeds():
    return fuzz_png.seeds() + fuzz_jpeg.seeds()


def build(random):
    return random.choice((fuzz_png, fuzz_jpeg)).build(random)


def parser(folder):
    """A function of a file: True if it is decoded, False if there is a message why not."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as decode_all does

    def read(path):
        result = decode_or_reason(str(path), image_options(4, crop=3))
        if isinstance(result, str):
            assert result and len(result) < 1000, result
            return False
        assert result.shape == (3, 4, 4) and result.dtype == "uint8" and result.flags.c_contiguous
        return True

    return read
