"""Runs that take a second, for tests of the commands that use a run."""

import numpy as np
import pytest
from PIL import Image

from scratchvae.runs import Config, train


def write_photographs(folder, count=20):
    """Colour images of noise, 64 x 64."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), "uint8")).save(folder / f"{i:02}.png")
    return folder


def trained(folder, **options):
    """Train into this folder with the engine numpy, without output; return the folder."""
    options = {"epochs": 1, "engine": "numpy", "batch_size": 20} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        train(Config(**options), folder=folder, say=lambda text: None)
    return folder
