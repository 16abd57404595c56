"""Digits without a download: 12,000 pictures drawn from the fonts that matplotlib brings along.

A first training run should not fail because a train has no Wi-Fi. Every machine that can plot
with matplotlib holds a few dozen fonts, most fonts hold ten digits, and a digit can be tilted,
slanted, stretched, moved and fattened in endless ways (`drawing.py` does that). What comes out
looks enough like MNIST for a network to learn from it; being printed and not written it is the
easier task, and its losses compare with no paper's.

The same seed gives the same pictures. Training and test set have a generator each, both spawned
from `default_rng(seed)`: no test picture is a training picture again. Drawing takes a few
seconds; the result is kept in the cache folder, and whatever is wrong with the cache, the
pictures are simply drawn again.
"""

import os
from importlib.metadata import version

import numpy as np

from .dataset import Dataset
from .drawing import SIZE, VERSION, draw, find_fonts
from .drawn_cache import Arrays, drawn_once


def load_glyphs(
    seed: int = 0,
    train_count: int = 10_000,
    test_count: int = 2_000,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Draw the digits, or take them from the cache.

    Parameters
    ----------
    seed : int
        The same seed, counts and library versions give the same pictures.
    train_count, test_count : int
        How many pictures; the ten digits come equally often, in random order.
    cache_dir : str or path-like, optional
        Where the drawn pictures are kept; by default the user's cache folder.

    Returns
    -------
    Dataset
        Named ``"glyphs"``; images (N, 28, 28) and labels (N,), all uint8.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    FileNotFoundError
        If matplotlib is installed without its fonts.
    ValueError
        If a count is negative.
    """
    if min(train_count, test_count) < 0:
        raise ValueError(f"glyphs: expected counts >= 0, found {train_count} and {test_count}")
    fonts = find_fonts()
    counts = {"train": train_count, "test": test_count}

    def draw_all() -> Arrays:
        arrays = {}
        generators = np.random.default_rng(seed).spawn(2)
        for (part, count), rng in zip(counts.items(), generators, strict=True):
            labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
            arrays[f"{part}_images"] = draw(labels, rng, fonts)
            arrays[f"{part}_labels"] = labels
        return arrays

    shapes: dict[str, tuple[int, ...]] = {
        f"{part}_{kind}": (count, *rest)
        for part, count in counts.items()
        for kind, rest in (("images", (SIZE, SIZE)), ("labels", ()))
    }
    recipe = f"v{VERSION}-seed{seed}-{train_count}-{test_count}"
    made_with = (version("matplotlib"), version("pillow"), [font.name for font in fonts])
    arrays = drawn_once(draw_all, shapes, "glyphs", recipe, made_with, cache_dir)
    return Dataset(name="glyphs", **arrays)
