"""Convolution with fewer multiplications, after Toom, Cook and Winograd.

Two polynomials, of m and of r coefficients, have a product of P = m + r - 1 coefficients. Its
values at P points fix it, and each value is one multiplication: P of them instead of m*r.

    evaluate, multiply, interpolate       s = E^-1 [(A y) * (G g)]

A and G (P rows) evaluate, E evaluates polynomials of P coefficients; at the point infinity a
polynomial's value is its leading coefficient. For a fixed g this is a linear map from y to s. Its
transpose is the correlation every convolution layer is made of, m outputs from P inputs d:

    y_i = sum over u of g_u d_(i+u)       y = A^T [(G g) * (B^T d)],  B = E^-1

With m = 2, r = 2 and the points 0, infinity, 1: A = G = (1 0, 0 1, 1 1), three products, not four:

    y_0 = g_0 d_0 + g_1 d_1 = g_0 (d_0 - d_1) + (g_0 + g_1) d_1
    y_1 = g_0 d_1 + g_1 d_2 = g_1 (d_2 - d_1) + (g_0 + g_1) d_1

Stride S: the inputs S*i + a and the taps S*u + a are a stride-1 correlation for each phase
a = 0..S-1, and the S results are summed. All of them use the same A, so they are summed before it.

A whole axis of an image is cut into tiles of m outputs (some of m - 1 where m does not divide), and
becomes one sparse matrix B^T: image positions -> (point, tile, phase). Padding is a position left
out. In two dimensions each axis has its matrices (h and w below), and a product becomes a sum over
channels, that is, for each pair of points (p, q), a matrix product over all tiles of all images:

    V = Bh^T x Bw     M = Ah y Aw^T     U = Gh w Gw^T       planes: one matrix for each (p, q)
    correlate            M_pq  = V_pq U_pq       y  = Ah^T M Aw
    its transposes       dV_pq = dM_pq U_pq^T    dx = Bh dV Bw^T
                         dU_pq = V_pq^T dM_pq    dw = Gh^T dU Gw

A conv_transpose2d has the roles of x and y exchanged, nothing else; so the functions here speak of
the large image x and the small image y of either layer, in NHWC memory.

The gain is paid with passes over V and M, and with rounding: A and B hold larger numbers the more
points there are (see `points`). A NaN spreads over its tile. Sources: Lavin & Gray, "Fast
algorithms for convolutional neural networks" (arXiv:1509.09308); Winograd (1980), "Arithmetic
complexity of computations"; Knuth, TAOCP volume 2, 4.3.3, for Toom and Cook.
"""

from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from .memory import empty
from .rows import finish_rows
from .sparse_axes import SparseAxes, collect, spread

INFINITY = None
PLANE_BYTES = 2 << 20  # V and M of the images taken at a time: 1 to 4 MB are equally fast;
ROWS = 64  # but a product of fewer rows runs at half the speed


# --- one axis -----------------------------------------------------------------------------------


def points(count):
    """0, infinity, and numbers near 1 in size, so that their powers are, too. Of the sets that were
    tried, these round least."""
    if count <= 4:
        numbers = [0, INFINITY, 1, -1]
    elif count == 5:
        numbers = [0, INFINITY, 1, Fraction(-2, 3), Fraction(-3, 2)]
    else:
        numbers = [0, INFINITY]
        for k in range(3, count):
            x = Fraction(k, k + 1)
            numbers += [x, -x, 1 / x, -1 / x]
    return [x if x is INFINITY else Fraction(x) for x in numbers[:count]]


def evaluate(at, size):
    """Matrix (points, size): coefficients of a polynomial -> its values. Fractions, as objects."""
    last = [Fraction(int(k == size - 1)) for k in range(size)]
    return np.array([last if x is INFINITY else [x**k for k in range(size)] for x in at])


def inverse(matrix):
    """Gauss and Jordan, exact."""
    n = len(matrix)
    a = np.concatenate([matrix, np.eye(n, dtype=int) * Fraction(1)], axis=1)
    for k in range(n):
        pivot = k + next(i for i, value in enumerate(a[k:, k]) if value)
        a[[k, pivot]] = a[[pivot, k]]
        a[k] /= a[k, k]
        for i in set(range(n)) - {k}:
            a[i] -= a[i, k] * a[k]
    return a[:, n:]


class Axis(NamedTuple):
    """How one axis is cut up, and its three matrices. Every tile and phase uses the first points of
    the list; only the last point is not used by all of them."""

    tiles_at: list  # number of tiles that use the point, for each point
    phases_at: list  # number of phases that use it
    Bt: np.ndarray  # (slots of V, input size): B^T; a slot is a (point, tile, phase)
    A: np.ndarray  # (slots of M, output size): slots (point, tile)
    G: np.ndarray  # (slots of U, taps): slots (point, phase)


@lru_cache
def axis(size, outputs, taps, stride, padding, tile):
    """tile: the largest number of outputs of a tile."""
    count = -(-outputs // tile)
    large = -(-outputs // count)  # outputs of a tile: this, or one less
    tiles = [large - (t >= outputs - count * (large - 1)) for t in range(count)]
    phases = [len(range(a, taps, stride)) for a in range(min(stride, taps))]  # number of taps
    at = points(large + phases[0] - 1)
    tiles_at = [sum(m + phases[0] - 1 > p for m in tiles) for p in range(len(at))]
    phases_at = [sum(large + r - 1 > p for r in phases) for p in range(len(at))]

    V, M, U = slots(tiles_at, phases_at), slots(tiles_at), slots(phases_at)
    Bt = np.zeros((len(V), size), object)
    A = np.zeros((len(M), outputs), object)
    G = np.zeros((len(U), taps), object)
    for t, m in enumerate(tiles):
        start = sum(tiles[:t])
        for p in range(m + phases[0] - 1):
            A[M.index((p, t, 0)), start : start + m] = evaluate(at[p : p + 1], m)
        for a, r in enumerate(phases):
            n = m + r - 1
            B_tile = inverse(evaluate(at[:n], n))
            for i, p in product(range(n), range(n)):
                position = (start + i) * stride + a - padding
                if 0 <= position < size:
                    Bt[V.index((p, t, a)), position] = B_tile[i, p]
    for u, (p, a, _) in enumerate(U):
        G[u, a::stride] = evaluate(at[p : p + 1], phases[a])
    return Axis(tiles_at, phases_at, Bt, A, G)


def slots(rows_at, columns_at=None):
    """All (point, row, column), given the number of rows and columns of each point."""
    columns_at = columns_at or [1] * len(rows_at)
    return [
        (p, i, j)
        for p, (rows, columns) in enumerate(zip(rows_at, columns_at, strict=True))
        for i, j in product(range(rows), range(columns))
    ]


# --- two axes -----------------------------------------------------------------------------------


class Plan(NamedTuple):
    """The transforms of a geometry and dtype, made by `plan`."""

    V: SparseAxes
    M: SparseAxes
    U: SparseAxes
    images: int  # taken at a time
    rows: int  # of a plane of V, all images together


@lru_cache(maxsize=256)
def plan(N, image, grid, kernel_size, stride, padding, C, O, dtype, tile=4):
    """For N images at most: x (N, *image, C), y (N, *grid, O). Arguments in pairs but for tile."""
    h, w = (axis(*how, tile) for how in zip(image, grid, kernel_size, stride, padding, strict=True))
    tiles, phases = (h.tiles_at, w.tiles_at), (h.phases_at, w.phases_at)
    ones = [1] * len(h.tiles_at), [1] * len(w.tiles_at)

    def transforms(images):
        V = sparse_axes(h.Bt, w.Bt, tiles, phases, images, C, dtype)
        M = sparse_axes(h.A, w.A, tiles, ones, images, O, dtype)
        return V, M

    rows = h.tiles_at[0] * w.tiles_at[0]  # of one image
    bytes_each = sum(axes.size for axes in transforms(1)) * dtype.itemsize
    images = max(PLANE_BYTES // bytes_each, -(-ROWS // rows))
    images = -(-N // -(-N // images))  # the same in each slice, nearly
    V, M = transforms(images)
    U = sparse_axes(h.G, w.G, phases, ones, C, O, dtype)  # w: C images, of taps with O channels
    return Plan(V, M, U, images, N * rows)


def sparse_axes(h, w, rows_at, columns_at, N, C, dtype):
    """Lay out planes: of point (p, q), rows (row of p, row of q, image), columns (column of p,
    column of q, channel). Planes alike form a stack: products of one call."""
    line = 64 // dtype.itemsize
    slots_h, slots_w = (slots(r, c) for r, c in zip(rows_at, columns_at, strict=True))
    P, Q = (len(r) for r in rows_at)
    start, step = np.zeros((P, Q), int), np.zeros((P, Q), int)
    stacks, size = [], 0
    for ps, qs in product(*[(range(n - 1), range(n - 1, n)) for n in (P, Q)]):
        if not len(ps) or not len(qs):
            continue
        p, q = ps[0], qs[0]
        rows = rows_at[0][p] * rows_at[1][q] * N
        columns = columns_at[0][p] * columns_at[1][q] * C
        # An odd number of cache lines from plane to plane: powers of 2 compete for one cache set.
        stride = (-(-rows * columns // line) | 1) * line
        stacks.append((size, len(ps) * len(qs), rows, columns, stride))
        for k, (p, q) in enumerate(product(ps, qs)):
            start[p, q], step[p, q] = size + k * stride, columns
        size += len(ps) * len(qs) * stride
    place = np.zeros((len(slots_h), len(slots_w)), int)
    for (i, (p, r, c)), (j, (q, s, d)) in product(enumerate(slots_h), enumerate(slots_w)):
        row = (r * rows_at[1][q] + s) * N
        place[i, j] = start[p, q] + row * step[p, q] + (c * columns_at[1][q] + d) * C
    p, q = ([slot[0] for slot in s] for s in (slots_h, slots_w))
    return SparseAxes.of(h, w, place, step[np.ix_(p, q)], tuple(stacks), size, C, dtype)


@lru_cache
def sizes(image, grid, kernel_size, stride, padding, tile=4):
    """Numbers in V (an image and channel), M (the same), U (a pair of channels). V counts products,
    too: one for each number and channel of y."""
    axes = zip(image, grid, kernel_size, stride, padding, strict=True)
    h, w = (axis(*how, tile) for how in axes)
    both = [(np.dot(a.tiles_at, a.phases_at), sum(a.tiles_at), sum(a.phases_at)) for a in (h, w)]
    return tuple(int(a * b) for a, b in zip(*both, strict=True))


# --- the layers' functions ------------------------------------------------------------------------


def transform_weights(plan, w):
    """w (C, KH, KW, O), C channels of x, O of y  ->  U."""
    U = np.empty(plan.U.size, w.dtype)
    spread(plan.U, w, U)
    return U


def transposed(plan, U):
    """The stacks of U^T. BLAS is a third slower with a transposed view: with many rows, copies."""
    stacks = [u.transpose(0, 2, 1) for u in plan.U.stacks(U)]
    return [np.ascontiguousarray(u) for u in stacks] if plan.rows >= 2 * ROWS else stacks


def transform_weights_back(plan, dU, dw):
    """dU -> dw (C, KH, KW, O)."""
    collect(plan.U, dU, dw)


def correlate(plan, x, U, y, b=None, slope=1):
    """Write y, the small image; b is added to every pixel, and leaky ReLU follows."""
    for tile, V, M in _tiles(plan, x, y):
        spread(plan.V, x[tile], V)
        _multiply(plan.V.stacks(V), plan.U.stacks(U), plan.M.stacks(M))
        collect(plan.M, M, y[tile])
        finish_rows(y[tile].reshape(-1, y.shape[3]), b, slope)


def correlate_back(plan, y, U_back, x, b=None, slope=1):
    """Write x, the large image, by the transpose of `correlate`. U_back: from `transposed`."""
    for tile, V, M in _tiles(plan, x, y):
        spread(plan.M, y[tile], M)
        _multiply(plan.M.stacks(M), U_back, plan.V.stacks(V))
        collect(plan.V, V, x[tile])
        finish_rows(x[tile].reshape(-1, x.shape[3]), b, slope)


def weight_gradient(plan, x, y, dx=None, U_back=None, dy=None, U=None):
    """Return dU, of which `transform_weights_back` makes dw. One of x, y is what the layer has
    read, the other the gradient of what it returned.

    The gradient of what it has read is written, too, if there is memory for it, with one transform
    less than alone: dx (a conv2d; with U_back), or dy (a conv_transpose2d; with U).
    """
    dU = np.zeros(plan.U.size, x.dtype)
    for tile, V, M in _tiles(plan, x, y):
        spread(plan.V, x[tile], V)
        spread(plan.M, y[tile], M)
        part = dU if tile.start == 0 else empty(dU.shape, dU.dtype)
        V_back = (v.transpose(0, 2, 1) for v in plan.V.stacks(V))
        _multiply(V_back, plan.M.stacks(M), plan.U.stacks(part))
        if part is not dU:
            for total, more in zip(plan.U.stacks(dU), plan.U.stacks(part), strict=True):
                total += more
        if dx is not None:
            _multiply(plan.M.stacks(M), U_back, plan.V.stacks(V))
            collect(plan.V, V, dx[tile])
        if dy is not None:
            _multiply(plan.V.stacks(V), plan.U.stacks(U), plan.M.stacks(M))
            collect(plan.M, M, dy[tile])
    return dU


def _tiles(plan, x, y):
    """Slices of the batch, with memory for V and M."""
    V, M = (empty((planes.size,), x.dtype) for planes in (plan.V, plan.M))
    for start in range(0, len(x), plan.images):
        if len(x) - start < plan.images:  # rows without an image: a weight gradient sums all rows
            V[...] = M[...] = 0
        yield slice(start, start + plan.images), V, M


def _multiply(a, b, out):
    """A product for each pair of points."""
    for left, right, result in zip(a, b, out, strict=True):
        np.matmul(left, right, out=result)
