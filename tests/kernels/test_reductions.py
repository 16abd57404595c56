"""kernels/cpu/runtime/reductions.py: sums over rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scratchvae.kernels.cpu.runtime import reductions

SHAPES = [(1, 1), (1, 5), (7, 3), (64, 4), (131, 2), (96, 70), (1000, 1)]  # rows, columns


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_sum_of_rows(shape, dtype):
    rows = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    rows.flags.writeable = False
    total = reductions.sum_of_rows(rows)
    assert total.dtype == dtype and total.shape == shape[1:]
    tolerance = np.finfo(dtype).eps * np.abs(rows).sum(axis=0).max()
    assert_allclose(total, rows.sum(axis=0, dtype="float64"), rtol=0, atol=tolerance)


def test_a_long_sum_keeps_its_digits():
    """2^24 + 1 is 2^24 in float32: only the ones in the chunk of the first number are lost."""
    ones = np.ones((1 << 20, 1), "float32")
    ones[0] = 1 << 24
    assert abs(reductions.sum_of_rows(ones)[0] - (1 << 24) - (1 << 20)) <= reductions.CHUNK
