"""Small pictures on disk for the tests of reading folders."""

import numpy as np
from PIL import Image

from scratchvae.data.images import load_folder


def write_photograph(path, seed=0, width=14, height=12):
    """A file of noise, in the format of its file name extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_photographs(folder, count):
    for i in range(count):
        write_photograph(folder / f"{i:03}.png", i)
    return folder


def load(folder, cache="cache", size=8, **options):
    """`load_folder` with a cache beside the folder."""
    return load_folder(folder, image_size=size, cache_dir=folder.parent / cache, **options)


def cache_file(folder, name):
    """The only file of this name in the cache."""
    (path,) = (folder.parent / "cache").glob(f"*/{name}")
    return path


def write_grey(path, value):
    """A file with `value` in every pixel, so that the pixels identify the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (3, 3), value).save(path)


def values(images):
    """The value of each picture of `write_grey`."""
    assert (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].tolist()
