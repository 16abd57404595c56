"""What the CPU kernels share: how they are compiled, and their scratch memory."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.kernels import cpu
from scratchvae.kernels.cpu import patches


def test_without_a_place_for_a_cache_kernels_are_compiled_all_the_same():
    """Numba raises at import where neither the install nor a home directory can be written to."""
    asked = []

    def njit(cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file")
        return lambda function: ("compiled", function, options)

    assert cpu._cached(njit, nogil=True)(len) == ("compiled", len, {"nogil": True})
    assert asked == [True, False]


@pytest.mark.parametrize(("N", "images"), [(1, 1), (5, 2), (6, 2), (5, 9)])
def test_tiles_cover_the_batch_once(monkeypatch, N, images):
    row_count, row_size, dtype = 3, 4, np.dtype("float32")
    monkeypatch.setattr(patches, "TILE_BYTES", images * row_count * row_size * dtype.itemsize)
    covered = []
    for tile, rows in patches.tiles(N, row_count, row_size, dtype):
        count = tile.stop - tile.start
        assert count <= images and rows.shape == (count * row_count, row_size)
        covered += range(N)[tile]
    assert covered == list(range(N))


def test_threads_do_not_share_scratch_memory():
    """Four threads run convolutions of their own at once; alone, each gives the same numbers."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((16, 8, 14, 14)) * 10**k for k in range(4)]
    w = rng.standard_normal((16, 8, 4, 4))
    with sv.using("numba"):
        alone = [sv.ops.conv2d_forward(x, w, None, 2, 1)[0] for x in inputs]
        together = [None] * 4

        def work(k):
            for _ in range(10):
                together[k] = sv.ops.conv2d_forward(inputs[k], w, None, 2, 1)[0]

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for a, b in zip(alone, together, strict=True):  # BLAS may cut its sums differently, no more
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


def test_a_large_image_leaves_no_large_buffer_behind():
    x, w = np.zeros((1, 16, 96, 96), "float32"), np.zeros((1, 16, 3, 3), "float32")
    with sv.using("numba"):
        sv.ops.conv2d_forward(x, w)
    kept = getattr(patches._scratch, "buffer", np.empty(0))
    assert kept.nbytes <= patches.TILE_BYTES < 94 * 94 * 16 * 9 * 4  # the rows of this image


@pytest.mark.parametrize("engine_name", ["numpy", "numba"])
def test_relu_backward_takes_nan_without_a_warning(engine_name):
    with sv.using(engine_name):
        _, cache = sv.ops.relu_forward(np.array([np.nan, 1.0]))
        assert_array_equal(sv.ops.relu_backward(np.ones(2), cache), [0, 1])
