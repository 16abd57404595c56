"""convolution/direct.py and microkernel.py: equal to the reference for every shape of a tile, and
nothing read or written out of bounds."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.kernels.cpu.convolution import algorithms, correlate, direct, indirection
from scratchvae.ops import conv2d_backward, conv2d_forward

BEHIND = 3  # images after the results in memory, which must not change
SHAPES = {  # image, kernel_size, stride, padding, C, O
    "one vector": ((6, 7), (3, 3), (1, 2), (2, 1), 3, 4),
    "two vectors": ((5, 4), (3, 2), (2, 1), (1, 0), 12, 12),  # of float64
    "tiles of channels": ((5, 4), (2, 3), (2, 1), (1, 0), 70, 40),  # the last one not full
    "panels of weights": ((5, 4), (2, 3), (2, 1), (1, 0), 64, 96),
    "few outputs": ((6, 5), (3, 3), (1, 1), (1, 1), 23, 2),
    "few inputs": ((8, 7), (4, 4), (2, 2), (1, 1), 2, 23),
    "few inputs, rows apart": ((7, 9), (5, 6), (2, 3), (1, 0), 1, 31),
    "steps beyond the kernel": ((8, 9), (1, 2), (3, 4), (0, 1), 3, 4),  # phases without taps
    "two chunks": ((34, 35), (2, 2), (1, 1), (0, 0), 2, 3),
    "two chunks, few outputs": ((33, 34), (3, 3), (1, 1), (1, 1), 25, 2),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    monkeypatch.setattr(algorithms, "cores", lambda: 1)


def arrays(shape, N, seed=0):
    """x, w, b and dy, channels first; stride and padding; the geometry."""
    image, kernel_size, stride, padding, C, O = shape
    sizes = zip(image, kernel_size, stride, padding, strict=True)
    grid = tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    rng = np.random.default_rng(seed)
    given = [(N, C, *image), (O, C, *kernel_size), (O,), (N, O, *grid)]
    geometry = algorithms.Geometry(image, grid, kernel_size, stride, padding)
    return *map(rng.standard_normal, given), geometry


def last(a, dtype="float64"):
    """With channels last, and NaN after it in memory."""
    memory = np.full((len(a) + BEHIND, *a.shape[2:], a.shape[1]), np.nan, dtype)
    memory[: len(a)] = a.transpose(0, 2, 3, 1)
    return memory[: len(a)]


def written_like(a, function, dtype):
    """What `function` writes to memory of a's size; checks that it writes nothing else."""
    memory = np.full((len(a) + BEHIND, *a.shape[2:], a.shape[1]), np.nan, dtype)
    function(memory[: len(a)])
    assert_array_equal(memory[len(a) :], np.nan)
    return memory[: len(a)].transpose(0, 3, 1, 2)


def reference(x, w, b, dy, geometry):
    """y, dx, dw."""
    y, cache = conv2d_forward.reference(x, w, b, geometry.stride, geometry.padding)
    return y, *conv2d_backward(dy, cache)[:2]


def direct_results(images, x, w, b, dy, geometry, dtype="float64"):
    """The same, for at most `images` images at a time."""
    algorithm = correlate.ALGORITHMS["direct"](images, w.astype(dtype), geometry, 1.0)
    algorithm.prepare_back()
    x_last, dy_last, b = last(x, dtype), last(dy, dtype), b.astype(dtype)
    y = written_like(dy, lambda out: algorithm.correlate(x_last, out, b), dtype)
    dx = written_like(x, lambda out: algorithm.correlate_back(dy_last, out, None), dtype)
    return y, dx, algorithm.finish(algorithm.gradients(x_last, dy_last))


def check(shape, images, N, dtype="float64"):
    """Errors must be below 20 roundings of the sum of the absolute products."""
    *given, geometry = arrays(shape, N)
    found = direct_results(images, *given, geometry, dtype)
    sizes = reference(*map(np.abs, given), geometry)
    for ours, theirs, size in zip(found, reference(*given, geometry), sizes, strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        assert (np.abs(ours - theirs) <= 20 * np.finfo(dtype).eps * size).all()


@every_shape
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("images", "N"), [(3, 3), (2, 5), (1 + BEHIND, 1)])
def test_groups_of_images(shape, images, N, dtype):
    """Full groups; a last group of half the size; fewer images than the buffer describes."""
    check(SHAPES[shape], images, N, dtype)


@given(
    N=st.integers(1, 4),
    images=st.integers(1, 4),
    image=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_any_shape(N, images, image, kernel_size, stride, padding, channels, dtype):
    assume(all(n + 2 * p >= k for n, p, k in zip(image, padding, kernel_size, strict=True)))
    check((image, kernel_size, stride, padding, *channels), images, N, dtype)


def test_a_bias_with_gaps():
    x, w, b, _, geometry = arrays(SHAPES["one vector"], 2)
    with_gaps = np.repeat(b, 2)[::2]
    with sv.using("numba"), patch.object(correlate, "fastest", lambda *_: ("direct", 1.0)):
        sizes = geometry.stride, geometry.padding
        y, _ = conv2d_forward(x, w, with_gaps, *sizes)
    assert_allclose(y, conv2d_forward.reference(x, w, b, *sizes)[0], rtol=1e-12, atol=1e-12)


@every_shape
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_windows(shape, value):
    """A sum without such a term stays finite: no other number is multiplied by 0 and added."""
    x, w, b, dy, geometry = arrays(SHAPES[shape], 2)
    for a in (x, dy):
        _, _, H, W = a.shape
        a[0, 0, H // 2, W // 2] = value
    with np.errstate(all="ignore"):
        expected = reference(x, w, b, dy, geometry)
    found = direct_results(2, x, w, b, dy, geometry, "float32")
    for ours, theirs in zip(found, expected, strict=True):
        assert_array_equal(np.isfinite(ours), np.isfinite(theirs))


def test_few_channels_are_those_with_long_sums():
    """The shapes above use both kinds of kernels, forward and back; with float64 not all do."""
    few = {}
    for name, shape in SHAPES.items():
        _, w, _, _, geometry = arrays(shape, 1)
        algorithm = correlate.ALGORITHMS["direct"](1, w.astype("float32"), geometry, 1.0)
        algorithm.prepare_back()
        few[name] = algorithm.buffer.few_channels, algorithm.back_buffer.few_channels
    assert few["few outputs"][0] and few["two chunks, few outputs"][0]
    assert few["few inputs"][1] and few["few inputs, rows apart"][1]
    assert not any(few["tiles of channels"] + few["two chunks"] + few["one vector"])


def test_a_long_sum_keeps_its_digits():
    """2^24 + 1 is 2^24 in float32: only the ones in the chunk of the first number are lost."""
    x, w, b, dy, geometry = arrays(((512, 512), (1, 1), (1, 1), (0, 0), 1, 1), 1)
    x.fill(1)
    dy.fill(1)
    x[0, 0, 0, 0] = 1 << 24
    *_, dw = direct_results(1, x, w, b, dy, geometry, "float32")
    assert abs(dw.item() - (1 << 24) - (1 << 18)) <= direct.CHUNK


def test_a_long_sum_of_terms_keeps_its_digits():
    """Likewise for y: only the terms that are summed together with the first one are lost."""
    x, w, b, dy, geometry = arrays(((1, 1), (1, 1), (1, 1), (0, 0), 4096, 20), 1)
    x.fill(1)
    w.fill(1)
    x[0, 0, 0, 0] = 1 << 24
    y, *_ = direct_results(1, x, w, 0 * b, dy, geometry, "float32")
    assert (abs(y - (1 << 24) - 4096) <= 256).all()


def test_padded_images_fill_so_many_bytes():
    with patch.object(indirection, "PADDED_BYTES", 1000):
        sizes = [(300, 1, 8), (300, 1, 2), (1001, 1, 8), (1, indirection.WINDOWS // 2, 8)]
        assert [indirection._images(*each) for each in sizes] == [3, 2, 1, 2]


def test_large_strides_need_few_phases():
    """All phases without taps are one phase, so the number of phases does not grow as stride^2."""
    for K, S in ((3, 64), (1, 512), (31, 40)):
        geometry = algorithms.Geometry((600, 27), ((600 - K) // S + 1, 1), (K, 1), (S, S), (0, 0))
        buffer = indirection.back_buffer(geometry, 1, 1, 2, 4)
        assert len(buffer.window_bounds) <= min(S, K) + 2
        assert_array_equal(np.sort(buffer.targets), np.arange(2 * 600 * 27))
