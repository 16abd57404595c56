"""kernels/cpu/runtime/reductions.py: what an activation does to rows, and sums over them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from scratchvae.kernels.cpu.runtime import reductions

SHAPES = [(1, 1), (1, 5), (7, 3), (64, 4), (131, 2), (96, 70), (1000, 1)]  # rows, columns


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_through_activation(monkeypatch, shape, slope, dtype):
    monkeypatch.setattr(reductions, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    rng = np.random.default_rng(0)
    dy, y = rng.standard_normal((2, *shape)).astype(dtype)
    y.flat[0] = 0  # at the kink, the slope counts
    for a in (dy, y):
        a.flags.writeable = False
    dh, db = reductions.through_activation(dy, y, slope)
    expected = np.where(y > 0, dy, y.dtype.type(slope) * dy)
    assert_array_equal(dh, expected)
    assert dh.dtype == db.dtype == dtype and db.shape == shape[1:]
    tolerance = np.finfo(dtype).eps * np.abs(expected).sum(axis=0).max()
    assert_allclose(db, expected.sum(axis=0, dtype="float64"), rtol=0, atol=tolerance)


def test_a_long_sum_keeps_its_digits():
    """2^24 + 1 is 2^24 in float32: only what is in the first number's chunk is lost."""
    ones = np.ones((1 << 20, 1), "float32")
    ones[0] = 1 << 24
    assert abs(reductions.sum_of_rows(ones)[0] - (1 << 24) - (1 << 20)) <= reductions.CHUNK


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_finish_rows(slope, dtype):
    """A NaN stays, and no other number becomes one."""
    rng = np.random.default_rng(0)
    room = rng.standard_normal((5, 9)).astype(dtype)
    room[2, 3] = np.nan
    b = rng.standard_normal(4).astype(dtype)
    before = room.copy()
    reductions.finish_rows(room[:, 2:6], b, room.dtype.type(slope))  # some columns of a matrix
    h = before[:, 2:6] + b
    expected = before.copy()
    expected[:, 2:6] = np.where(h > 0, h, room.dtype.type(slope) * h)
    assert_array_equal(room, expected)
    assert np.isnan(room).sum() == 1
