"""convolution/winograd.py: exact matrices, and results equal to windows times weights."""

from contextlib import ExitStack
from fractions import Fraction
from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import scratchvae as sv
from scratchvae.kernels.cpu import conv2d as kernel_conv2d
from scratchvae.kernels.cpu import conv_transpose2d as kernel_conv_transpose2d
from scratchvae.kernels.cpu.convolution import algorithms, correlate, winograd
from scratchvae.models import MODELS, build
from scratchvae.ops import conv2d, conv2d_forward, windows

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("m", range(1, 7))
@pytest.mark.parametrize("r", range(1, 6))
def test_identity_is_exact(m, r):
    """A^T [(G g) * (B^T d)] is a correlation for all g and d: coefficient by coefficient."""
    at = winograd.points(m + r - 1)
    A, G, E = winograd.evaluate(at, m), winograd.evaluate(at, r), winograd.evaluate(at, m + r - 1)
    B = winograd.interpolate(at)
    assert len(set(at)) == len(at)
    np.testing.assert_array_equal(B @ E, np.eye(len(at), dtype=int))
    weights = np.einsum("pi,pu,dp->iud", A, G, B)  # of g_u d_k in y_i
    i, u, d = np.indices(weights.shape)
    assert (weights == (d == i + u)).all()
    assert all(isinstance(value, Fraction) for value in B.flat)


def test_multiplications_of_known_cases():
    def axis_share(outputs, taps, stride, tile=4):
        a = winograd.axis((outputs - 1) * stride + taps, outputs, taps, stride, 0, tile)
        return Fraction(int(np.dot(a.tiles_at, a.phases_at)), outputs * taps)

    assert axis_share(2, 3, 1, tile=2) == Fraction(4, 6)  # F(2, 3) of Lavin & Gray
    assert axis_share(4, 3, 1) == Fraction(6, 12)  # F(4, 3)
    assert axis_share(4, 4, 2) == Fraction(10, 16)
    assert axis_share(4, 3, 2) == Fraction(9, 12)
    assert axis_share(7, 4, 2) == Fraction(18, 28)  # 4 + 3 outputs
    assert axis_share(5, 1, 1) == 1
    V, M, U = winograd.sizes((8, 8), (4, 4), (4, 4), (2, 2), (1, 1))  # 4 x 4 outputs of 4 x 4 taps
    assert (V, M, U) == (10**2, 5**2, 10**2)  # V numbers are V products, instead of 16**2


def random_case(seed, N, image, C, O, kernel_size, stride, padding, dtype):
    """x, w, y-sized dy in the kernel's memory order (NHWC; w is C, KH, KW, O)."""
    grid = windows.grid_size(image, kernel_size, stride, padding)
    rng = np.random.default_rng(seed)
    shapes = (N, *image, C), (C, *kernel_size, O), (N, *grid, O)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def reference(x, w, dy, stride, padding):
    """y, dx, dw by the formulas in NumPy; here and below in the kernel's memory order."""
    x, w, dy = x.transpose(0, 3, 1, 2), w.transpose(3, 0, 1, 2), dy.transpose(0, 3, 1, 2)
    y, cache = conv2d.conv2d_forward(x, w, None, stride, padding)
    dx, dw, _ = conv2d.conv2d_backward(dy, cache)
    return y.transpose(0, 2, 3, 1), dx.transpose(0, 2, 3, 1), dw.transpose(1, 2, 3, 0)


@np.errstate(invalid="ignore")  # as for every kernel, see backend.py
def winograd_results(x, w, dy, stride, padding, tile=4, N=None):
    """y, dx, dw; dx by both functions that compute it. Results start as NaN, to find gaps."""
    sizes = x.shape[1:3], dy.shape[1:3], w.shape[1:3]
    geometry = algorithms.Geometry(*sizes, stride, padding)
    w = np.ascontiguousarray(w.transpose(3, 0, 1, 2))
    with patch.object(algorithms, "cores", lambda: 1):
        algorithm = winograd.Winograd(N or len(x), w, geometry, 1.0, tile)
    algorithm.prepare_back()
    y, y_too, dx, dx_too = (np.full_like(a, np.nan) for a in (dy, dy, x, x))
    algorithm.correlate(x, y)
    algorithm.correlate_back(dy, dx)
    dU = algorithm.gradients(x, dy, x_out=dx_too)
    np.testing.assert_array_equal(dx_too, dx)
    dU_too = algorithm.gradients(x, dy, y_out=y_too)
    np.testing.assert_array_equal(y_too, y)
    stacks = algorithm.plan.U.stacks
    for one, other in zip(stacks(dU), stacks(dU_too), strict=True):
        np.testing.assert_array_equal(one, other)
    return y, dx, algorithm.finish(dU).transpose(1, 2, 3, 0)


def errors(results, expected):
    """The largest difference, relative to the largest number, of each array."""
    both = zip(results, expected, strict=True)
    return [abs(a - b).max() / max(abs(b).max(), 1e-30) for a, b in both]


pairs = st.tuples(st.integers(1, 5), st.integers(1, 5))
small_pairs = st.tuples(st.integers(0, 2), st.integers(0, 2))


@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(1, 5),
    extra=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    C=st.integers(1, 5),
    O=st.integers(1, 5),
    kernel_size=pairs,
    stride=pairs,
    padding=small_pairs,
    tile=st.integers(1, 4),
)
@example(0, 3, (12, 12), 2, 3, (4, 4), (2, 2), (1, 1), 4)  # outputs 7 = 4 + 3
@example(0, 3, (11, 4), 2, 3, (3, 3), (2, 2), (1, 1), 4)  # a phase too short for the last point
@example(0, 2, (0, 3), 2, 3, (1, 2), (3, 3), (0, 1), 4)  # pixels that no window reads
@example(0, 2, (12, 9), 2, 3, (4, 3), (2, 1), (1, 0), 4)  # 7 = 4 + 3 and 10 = 4 + 3 + 3 outputs
def test_equals_reference(seed, N, extra, C, O, kernel_size, stride, padding, tile):
    image = tuple(
        max(1, k + e - 2 * p) for k, e, p in zip(kernel_size, extra, padding, strict=True)
    )
    x, w, dy = random_case(seed, N, image, C, O, kernel_size, stride, padding, float)
    expected = reference(x, w, dy, stride, padding)
    assert max(errors(winograd_results(x, w, dy, stride, padding, tile), expected)) < 1e-12


def test_more_channels_than_are_summed_in_one_go():
    x, w, dy = random_case(0, 2, (6, 5), 2 * winograd.MANY + 3, 3, (3, 3), (1, 1), (1, 1), float)
    how = (1, 1), (1, 1)
    assert max(errors(winograd_results(x, w, dy, *how), reference(x, w, dy, *how))) < 1e-12


@pytest.mark.parametrize("N", [1, 5, 11])
def test_slices_of_the_batch(monkeypatch, N):
    """Several slices of images, the last one not full, in memory used by an earlier call."""
    monkeypatch.setattr(winograd, "PLANE_BYTES", 1)
    monkeypatch.setattr(winograd, "ROWS", 8)
    winograd.plan.cache_clear()
    how = (2, 2), (1, 1)
    x, w, dy = random_case(0, N, (14, 9), 3, 4, (4, 3), *how, float)
    winograd_results(x * np.nan, w, dy, *how)
    for planned in (N, N + 3):
        assert (
            max(errors(winograd_results(x, w, dy, *how, N=planned), reference(x, w, dy, *how)))
            < 1e-12
        )
    winograd.plan.cache_clear()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("tile", [2, 4])
def test_what_is_not_finite_spreads_over_tiles_and_no_farther(tile, stride):
    """Outputs of the tiles that read the pixel; pixels that the output's tile reads."""
    K, P, how = 3, 1, ((stride, stride), (1, 1))
    x, w, dy = random_case(0, 1, (13, 14), 2, 3, (K, K), *how, float)
    reach = []  # of each axis: (pixels, outputs) that have a tile in common
    for pixels, outputs in zip(x.shape[1:3], dy.shape[1:3], strict=True):
        tiles = winograd.cut(outputs, K, stride, tile).tiles
        seen = np.zeros((pixels, outputs), bool)
        for start, m in zip(np.cumsum(tiles) - tiles, tiles, strict=True):
            first = max(0, start * stride - P)
            seen[first : (start + m - 1) * stride - P + K, start : start + m] = True
        reach.append(seen)
    rows, columns = reach
    for i, j in [(0, 0), (5, 7), (12, 13), (12, 0)]:
        changed = x.copy()
        changed[0, i, j, 0] = np.inf
        y, _, _ = winograd_results(changed, w, dy, *how, tile)
        assert not np.isfinite(y[0, rows[i]][:, columns[j]]).all()
        assert np.isfinite(y[0, ~rows[i]]).all() and np.isfinite(y[0][:, ~columns[j]]).all()
    for i, j in [(0, 0), (3, 4), (dy.shape[1] - 1, dy.shape[2] - 1)]:
        changed = dy.copy()
        changed[0, i, j, 0] = np.nan
        _, dx, _ = winograd_results(x, w, changed, *how, tile)
        seen = rows[:, i], columns[:, j]
        assert np.isnan(dx[0, seen[0]][:, seen[1]]).any()
        assert np.isfinite(dx[0, ~seen[0]]).all() and np.isfinite(dx[0][:, ~seen[1]]).all()


def test_rows_and_columns_that_nothing_reads():
    """The last row and column are in no window: their gradient is zero, also next to a NaN."""
    x, w, dy = random_case(0, 1, (12, 12), 2, 3, (3, 3), (2, 2), (0, 0), float)
    dy[0, 0, 0] = dy[0, -1, -1] = np.nan
    _, dx, _ = winograd_results(x, w, dy, (2, 2), (0, 0), tile=2)
    assert np.isnan(dx[0, 10, 10]).all() and (dx[0, 11] == 0).all() and (dx[0, :, 11] == 0).all()


KINDS = {  # of x, w, dy
    "independent": (np.random.Generator.standard_normal,) * 3,
    "positive": (np.random.Generator.random,) * 3,
    "positive images": (
        np.random.Generator.random,
        np.random.Generator.standard_normal,
        np.random.Generator.random,
    ),
    "constant images": (
        lambda rng, shape: np.full(shape, 0.1),
        np.random.Generator.standard_normal,
        np.random.Generator.standard_normal,
    ),
}


@pytest.mark.parametrize(
    "image, channels, K, S, tile",
    [
        (12, 1, (3, 3), 1, 4),
        (12, 64, (3, 3), 1, 4),
        (8, 256, (3, 3), 1, 4),
        (12, 64, (3, 3), 1, 2),
        (12, 16, (5, 5), 1, 2),
        (12, 16, (5, 5), 1, 4),
        (14, 64, (4, 4), 2, 4),
        (14, 16, (7, 7), 2, 4),
        (14, 16, (1, 5), 1, 4),
        (14, 16, (1, 9), 1, 2),
        (10, 8, (7, 7), 1, 4),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_of_rounding_holds(kind, image, channels, K, S, tile):
    """The error is at most twice the estimate. For the kind of data that the estimate is for, the
    estimate is less than 30 times too large. `pytest -s` prints both."""
    how = (S, S), (K[0] // 2, K[1] // 2)
    given = random_case(0, 2, (image, image), channels, channels, K, *how, np.float32)
    rng = np.random.default_rng(0)
    drawn = zip(KINDS[kind], given, strict=True)
    x, w, dy = (draw(rng, a.shape).astype(a.dtype) for draw, a in drawn)
    exact = reference(*(a.astype(float) for a in (x, w, dy)), *how)
    found = max(errors(winograd_results(x, w, dy, *how, tile), exact))
    geometry = (image, image), dy.shape[1:3], K, *how
    estimate = winograd.roundings(*geometry, channels, channels, tile) * np.finfo("float32").eps / 2
    print(f"{K} stride {S} tile {tile}, {channels}, {kind}: {found:.1e}, estimate {estimate:.1e}")
    assert found < 2 * estimate
    assert kind != "independent" or found > estimate / 30


def layers_of_models():
    """(batch, shape of w, geometry) of every convolution, recorded from calls of `prepare`."""
    seen = []

    def prepare(N, w, geometry):
        seen.append((N, w.shape, geometry))
        return prepare_as_ever(N, w, geometry)

    prepare_as_ever = correlate.prepare
    with sv.using("numba"), ExitStack() as stack:
        for module in (kernel_conv2d, kernel_conv_transpose2d):
            stack.enter_context(patch.object(module, "prepare", prepare))
        for name in MODELS:
            model = build(name)
            x = np.zeros((2, *model.image_shape), np.float32)
            model.forward(x, *([] if name == "ae" else [model.noise(2, np.random.default_rng(0))]))
    return seen


def test_the_limit_changes_no_layer_of_the_models(monkeypatch):
    """The six models use the same tiles with the error limit as without it."""
    layers = layers_of_models()
    assert len(layers) > 40
    chosen = [correlate.fastest(N, *rest)[0] for _, *rest in layers for N in (32, 128)]
    monkeypatch.setattr(correlate, "MOST_ROUNDINGS", np.inf)
    assert chosen == [correlate.fastest(N, *rest)[0] for _, *rest in layers for N in (32, 128)]
    assert "winograd_4" in chosen and "direct" in chosen


def test_taps_that_meet_no_pixel_do_no_harm():
    """Not even large ones: in exact arithmetic they are in no result."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 128, 32, 1)).astype("float32")
    w = (rng.standard_normal((128, 128, 3, 3)) / 30).astype("float32")
    w[..., [0, 2]] *= 1e6
    expected = conv2d_forward.reference(x, w, None, 1, 1)[0]
    with sv.using("numba"):
        y, _ = conv2d_forward(x, w, None, 1, 1)
    assert abs(y - expected).max() < 5e-6 * abs(expected).max()


HUGE = [  # image, kernel: minutes of exact fractions, once
    ((18, 260), (18, 18)),
    ((64, 64), (31, 31)),
    ((96, 96), (51, 51)),
    ((28, 28), (28, 28)),
    ((1, 4000), (1, 3)),
    ((1, 4000), (1, 31)),
    ((512, 512), (3, 3)),
    ((2000, 2000), (3, 3)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_planning_makes_few_and_small_matrices(monkeypatch, dtype):
    """Counts, instead of times: exact matrices, and stored entries of sparse ones."""
    sizes, interpolate = [], winograd.interpolate

    def counted(at):
        sizes.append(len(at))
        return interpolate(at)

    monkeypatch.setattr(winograd, "interpolate", counted)
    for cached in (
        winograd.matrices,
        winograd.amplification,
        winograd.roundings,
        winograd.axis,
        winograd.plan,
    ):
        cached.cache_clear()
    for (image, kernel_size), stride in product(HUGE, (1, 2, 3, 8)):
        padding = tuple(k // 2 for k in kernel_size)
        grid = windows.grid_size(image, kernel_size, (stride, stride), padding)
        geometry = algorithms.Geometry(image, grid, kernel_size, (stride, stride), padding)
        shape = 64, 64, *kernel_size
        name, _ = correlate.fastest(64, shape, geometry)
        if name != "direct":
            plan = winograd.plan(64, *geometry, 64, 64, np.dtype(dtype), int(name[-1]))
            assert (
                plan.V.offset.size <= winograd.SLOTS**1.5
                and max(plan.V.offset.shape) <= winograd.SLOTS
            )
            for matrix in (plan.V.h, plan.V.w, plan.M.h_back, plan.M.w_back):
                assert matrix[2].size <= 64 * winograd.SLOTS
    assert max(sizes) <= winograd.MOST and len(sizes) <= 2 * 4 * 32
