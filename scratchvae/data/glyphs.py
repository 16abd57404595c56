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

import hashlib
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .drawing import SIZE, VERSION, draw, find_fonts


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
    if cache_dir is None:
        import pooch  # here, for `import scratchvae` to stay fast

        try:
            cache_dir = Path(pooch.os_cache("scratchvae")) / "glyphs"
        except RuntimeError:  # no home directory
            cache_dir = os.devnull  # where nothing is found and nothing can be put
    # Everything that decides about a pixel is in the name, so a stale file is never read.
    made_with = (version("matplotlib"), version("pillow"), [font.name for font in fonts])
    digest = hashlib.sha256(repr(made_with).encode()).hexdigest()[:12]
    name = f"glyphs-v{VERSION}-seed{seed}-{train_count}-{test_count}-{digest}.npz"
    cache = Path(cache_dir) / name
    arrays = _read_cache(cache, train_count, test_count)
    if arrays is None:
        arrays = {}
        generators = np.random.default_rng(seed).spawn(2)
        for part, count, rng in zip(
            ("train", "test"), (train_count, test_count), generators, strict=True
        ):
            labels = rng.permutation(np.arange(count) % 10).astype(np.uint8)
            arrays[f"{part}_images"] = draw(labels, rng, fonts)
            arrays[f"{part}_labels"] = labels
        _write_cache(cache, arrays)
    return Dataset(name="glyphs", **arrays)


def _read_cache(
    path: Path, train_count: int, test_count: int
) -> dict[str, NDArray[np.uint8]] | None:
    counts = {"train": train_count, "test": test_count}
    shapes: dict[str, tuple[int, ...]] = {
        f"{part}_{kind}": (count, *rest)
        for part, count in counts.items()
        for kind, rest in (("images", (SIZE, SIZE)), ("labels", ()))
    }
    try:
        # Opened here, since np.load forgets to close a file that turns out to be damaged.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {field: file[field] for field in shapes}
    except Exception:  # a damaged zip file can raise nearly anything, and the cure is the same
        return None
    for field, shape in shapes.items():
        if arrays[field].shape != shape or arrays[field].dtype != np.uint8:
            return None
    return arrays


def _write_cache(path: Path, arrays: dict[str, Any]) -> None:
    """Save for the next time, or not at all: another process never sees half a file."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            np.savez_compressed(file, **arrays)
        os.replace(temporary, path)
        temporary = None
    except OSError:
        pass  # a full disk, a home that cannot be written: the pictures are in memory all the same
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
