"""Faces without a download: 9,000 portraits in colour, painted by arithmetic.

What CelebA is to photographs, these are to drawings: 64 x 64 pixels, a head in the middle, and
behind each picture fifty numbers, its factors, that decide on smile, glasses and light
(`factors`, `portraits`). Nothing but NumPy is needed, and a fresh machine can train on colour at
once. Being drawn they are the easier task, and their losses compare with no paper's.

The same seed gives the same pictures. Training and test set have a generator each, both spawned
from `default_rng(seed)`. Painting takes some seconds; the result is kept in the cache folder.
"""

import os

import numpy as np

from .dataset import Dataset
from .drawn_cache import Arrays, drawn_once
from .factors import draw_factors
from .portraits import SIZE, VERSION, draw


def load_faces(
    seed: int = 0,
    train_count: int = 8_000,
    test_count: int = 1_000,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Paint the faces, or take them from the cache.

    Parameters
    ----------
    seed : int
        The same seed, counts and NumPy version give the same pictures.
    train_count, test_count : int
        How many pictures.
    cache_dir : str or path-like, optional
        Where the painted pictures are kept; by default the user's cache folder.

    Returns
    -------
    Dataset
        Named ``"faces"``; images (N, 3, 64, 64) of uint8, and no labels.

    Raises
    ------
    ValueError
        If a count is negative.
    """
    if min(train_count, test_count) < 0:
        raise ValueError(f"faces: expected counts >= 0, found {train_count} and {test_count}")
    counts = {"train_images": train_count, "test_images": test_count}

    def draw_all() -> Arrays:
        generators = np.random.default_rng(seed).spawn(2)
        return {
            field: draw(draw_factors(count, rng))
            for (field, count), rng in zip(counts.items(), generators, strict=True)
        }

    shapes: dict[str, tuple[int, ...]] = {
        field: (count, 3, SIZE, SIZE) for field, count in counts.items()
    }
    recipe = f"v{VERSION}-seed{seed}-{train_count}-{test_count}"
    arrays = drawn_once(draw_all, shapes, "faces", recipe, np.__version__, cache_dir)
    return Dataset(name="faces", **arrays)
