"""Small models and recorded steps for the tests of the X-ray."""

from functools import cache

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.xray.record import record

MODELS = [*sv.models.MODELS]
# The others take seconds each.
QUICK_FIRST = [
    name if name in ("mlp", "tiny", "ae") else pytest.param(name, marks=pytest.mark.slow)
    for name in MODELS
]
SMALLER = {"celeba": {"image_shape": (3, 32, 32)}}  # the same ops on a quarter of the pixels

# With `--dist loadgroup` a page is made once.
EACH_ON_ONE_WORKER = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in MODELS]


def a_model(name, dtype="float32"):
    return sv.models.build(name, seed=3, dtype=dtype, **SMALLER.get(name, {}))


def a_batch(model, n=2):
    rng = np.random.default_rng(5)
    x = rng.uniform(*model.data_range, (n, *model.image_shape)).astype(model.dtype)
    return x, model.noise(n, rng)


@cache
def a_step(name):
    model = a_model(name)
    return record(model, *a_batch(model))
