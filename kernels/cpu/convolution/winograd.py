"""Winograd's convolution, with fewer multiplications; Toom and Cook found it for polynomials.

The product of two polynomials, with m and r coefficients, has P = m + r - 1 coefficients. Its
values at P points determine it, and each value costs one multiplication: P instead of m*r.

    evaluate, multiply, interpolate       s = E^-1 [(A y) * (G g)]

A, G and E have a row for each point and evaluate polynomials of m, r and P coefficients; the value
at the point infinity is the leading coefficient. For a fixed g this is a linear map from y to s.
Its transpose is the correlation in a convolution layer, with m outputs from P inputs d:

    y_i = sum over u of g_u d_(i+u)       y = A^T [(G g) * (B^T d)],  B = E^-1

With m = 2, r = 2 and the points 0, infinity, 1: A = G = (1 0, 0 1, 1 1), three products, not four:

    y_0 = g_0 d_0 + g_1 d_1 = g_0 (d_0 - d_1) + (g_0 + g_1) d_1
    y_1 = g_0 d_1 + g_1 d_2 = g_1 (d_2 - d_1) + (g_0 + g_1) d_1

Stride S: for each phase a = 0..S-1, the inputs S*i + a and the taps S*u + a form a stride-1
correlation, and the S results are summed. All phases use the same A, so they are summed before it.

A whole axis of an image is cut into tiles of m outputs (some of m - 1 if m does not divide it), and
becomes one sparse matrix B^T: image positions -> (point, tile, phase), without the padding. In two
dimensions each axis has its own matrices (h and w below), and a product becomes a sum over
channels: for each pair of points (p, q), a matrix product over all tiles of all images:

    V = Bh^T x Bw     M = Ah y Aw^T     U = Gh w Gw^T       planes: one matrix for each (p, q)
    correlate            M_pq  = V_pq U_pq       y  = Ah^T M Aw
    its transposes       dV_pq = dM_pq U_pq^T    dx = Bh dV Bw^T
                         dU_pq = V_pq^T dM_pq    dw = Gh^T dU Gw

conv_transpose2d exchanges x and y: here x is the large and y the small image, in NHWC memory.

The costs are passes over V and M, and rounding. With more points the numbers in A, G and B grow;
when they cancel, their rounding errors remain. Barabasz, Anderson, Soodhalter and Gregg
(arXiv:1803.10986) bound the worst case by the product of the matrices' norms. This file estimates
it instead: the rounding error of each product of a tile is taken as an independent random number,
proportional to the product. Relative to y, the error of y is amplified by the square root of

    for independent y, g   max over i of  sum over p of A_pi^2 |G_p|^2  |B_p|^2  / r
    for constant y, g      max over i of  sum over p of A_pi^2 (G_p 1)^2 (B_p 1)^2 / r^2

(G_p: row p of G; B_p: column p of B; 1: a vector of ones.) `amplification` computes both, for y, dx
and dw; the factors of two axes multiply. `roundings` multiplies them by the rounding of the sums,
which grows with the root of the channels and is fitted to measurements. In float32 a 4 x 4 tile
passes for a 3 x 3 kernel; larger kernels get a 2 x 2 tile, or no Winograd.

A pixel of x that is not finite spreads to all outputs of the tiles that read it and to dw; a pixel
of dy spreads to the pixels that its tile reads and to dw. So does the rounding of a large pixel.

Sources: Lavin & Gray, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308);
Winograd, "Arithmetic complexity of computations" (1980); Knuth, TAOCP volume 2, 4.3.3, for Toom and
Cook.
"""

from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import NamedTuple

import numpy as np

from ..runtime.memory import scratch
from .algorithms import Algorithm
from .layout import turned
from .transforms import SparseAxes, Triplets, transform, transform_back, triplets

INFINITY = None
PLANE_BYTES = 2 << 20  # V and M of the images processed at a time; 1 to 4 MB are equally fast
SLOTS = 1 << 12  # of V along an axis; more are not worth storing
MANY = 128  # channels that are summed at a time, because a long sum in float32 loses digits
FITTED = (1.2, 0.45), (2.2, 0.9)  # a, b of a + b sqrt(terms): see `roundings`
ROWS = 64  # of V at a time, at least: a product of fewer rows runs at half the speed


# --- one axis -----------------------------------------------------------------------------------


def points(count):
    """0, infinity, and fractions near 1, with powers near 1. Of many sets tried, these have the
    smallest `amplification`, also without the last points (in shorter tiles and phases)."""
    if count <= 4:
        fractions = "1 -1"
    elif count == 5:
        fractions = "1 -2/3 -3/2"
    elif count == 6:
        fractions = "3/5 -3/2 -2/3 5/3"
    else:
        fractions = "-1 -1/2 2/3 -2 3/2 1 -3/4 3"
    return [Fraction(0), INFINITY, *map(Fraction, fractions.split())][:count]


MOST = len(points(1 << 30))  # points of a tile


def evaluate(at, size):
    """Matrix (points, size): coefficients of a polynomial -> its values. Fractions, as objects."""
    last = [Fraction(int(k == size - 1)) for k in range(size)]
    return np.array([last if x is INFINITY else [x**k for k in range(size)] for x in at])


def interpolate(at):
    """The inverse. Column p: coefficients of the polynomial that is 1 at point p, else 0."""
    columns = []
    for point in at:
        zeros = [x for x in at if x is not INFINITY and x != point]
        column = [Fraction(1)]
        for x in zeros:  # times (t - x)
            column = [low - x * high for low, high in zip([0, *column], [*column, 0], strict=True)]
        value = 1 if point is INFINITY else prod(point - x for x in zeros)
        rest = [Fraction(0)] * (len(at) - len(column))
        columns.append([c / value for c in column] + rest)
    return np.array(columns).T


@lru_cache
def matrices(m, r, count=None):
    """A, G, B of m outputs and r taps, exact, for the first of `count` points."""
    n = m + r - 1
    at = points(count or n)[:n]
    return evaluate(at, m), evaluate(at, r), interpolate(at)


@lru_cache
def amplification(m, r, count):
    """Of rounding errors in y, dx, dw, for independent and for constant numbers: see above."""
    A, G, B = (matrix.astype(float) for matrix in matrices(m, r, count))
    of_points = A, G, B.T
    squares = [(matrix**2).sum(axis=1) for matrix in of_points]
    squared_sums = [matrix.sum(axis=1) ** 2 for matrix in of_points]
    found = []
    for (a, g, b), power in ((squares, 1), (squared_sums, 2)):
        y = (A**2).T @ (g * b) / r**power
        dw = (G**2).T @ (a * b) / m**power
        dx = B**2 @ (a * g) / r**power
        dx = [dx[i::m].sum() for i in range(m)]  # tiles overlap: m pixels apart
        found.append(np.sqrt([max(y), max(dx), max(dw)]))
    return found


class Cut(NamedTuple):
    """How an axis is cut up. Every tile and phase uses the first points of the list."""

    tiles: np.ndarray  # number of outputs of each
    phases: np.ndarray  # number of taps of each

    @property
    def count(self):
        """Number of points."""
        return int(self.tiles[0] + self.phases[0] - 1)

    def tiles_at(self):
        """Number of tiles that use the point, for each point."""
        return [int((self.tiles + self.phases[0] - 1 > p).sum()) for p in range(self.count)]

    def phases_at(self):
        """Number of phases that use the point, for each point."""
        return [int((self.tiles[0] + self.phases - 1 > p).sum()) for p in range(self.count)]


def cut(outputs, taps, stride, tile):
    """tile: the largest number of outputs of a tile. Phases of one tap do not profit from tiles."""
    count = -(-outputs // tile) if taps > stride else outputs
    return Cut(_shares(outputs, count), _shares(taps, min(stride, taps)))


def _shares(total, count):
    """`count` ints with this total, as equal as possible, larger ones first."""
    return (total + np.arange(count)[::-1]) // count


class Axis(NamedTuple):
    """An axis and its three matrices, as triplets for transforms.py."""

    tiles_at: list
    phases_at: list
    Bt: Triplets  # (slots of V, input size): B^T; a slot is a (point, tile, phase)
    A: Triplets  # (slots of M, output size): slots (point, tile)
    G: Triplets  # (slots of U, taps): slots (point, phase)


@lru_cache
def axis(size, outputs, taps, stride, padding, tile):
    how = cut(outputs, taps, stride, tile)
    tiles_at, phases_at = np.array(how.tiles_at()), np.array(how.phases_at())
    first_V, first_M, first_U = (starts(n) for n in (tiles_at * phases_at, tiles_at, phases_at))
    start = np.cumsum(how.tiles) - how.tiles
    Bt, A, G = [], [], []
    for m in np.unique(how.tiles).tolist():
        t = np.flatnonzero(how.tiles == m)[:, None, None]
        for a, r in enumerate(how.phases.tolist()):
            B_tile = matrices(m, r, how.count)[2].astype(float)
            i, p = np.ogrid[: m + r - 1, : m + r - 1]
            slot = first_V[p] + t * phases_at[p] + a
            Bt.append((slot, (start[t] + i) * stride + a - padding, B_tile[i, p]))
        values = evaluate(points(how.count)[: m + how.phases[0] - 1], m).astype(float)
        p, i = np.ogrid[: len(values), :m]
        A.append((first_M[p] + t, start[t] + i, values[p, i]))
    for a, r in enumerate(how.phases.tolist()):
        values = evaluate(points(how.count)[: how.tiles[0] + r - 1], r).astype(float)
        p, u = np.ogrid[: len(values), :r]
        G.append((first_U[p] + a, a + u * stride, values[p, u]))
    shapes = (first_V[-1], size), (first_M[-1], outputs), (first_U[-1], taps)
    sparse = (triplets(*both) for both in zip(shapes, (Bt, A, G), strict=True))
    return Axis(tiles_at, phases_at, *sparse)


def starts(counts):
    return np.append(0, np.cumsum(counts))


def slots(rows_at, columns_at):
    """The point, row, column of each slot, given the number of rows and columns of each point."""
    rows_at, columns_at = np.array(rows_at), np.array(columns_at)
    point = np.repeat(np.arange(len(rows_at)), rows_at * columns_at)
    k = np.arange(len(point)) - starts(rows_at * columns_at)[point]  # of its point
    return point, *divmod(k, columns_at[point])


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
    """For at most N images: x (N, *image, C), y (N, *grid, O). The geometry is given in pairs."""
    h, w = (axis(*how, tile) for how in zip(image, grid, kernel_size, stride, padding, strict=True))
    tiles, phases = (h.tiles_at, w.tiles_at), (h.phases_at, w.phases_at)
    ones = [np.ones_like(n) for n in tiles]
    rows = tiles[0][0] * tiles[1][0]  # of one image
    *_, V_size = _layout(tiles, phases, 1, C, dtype)
    *_, M_size = _layout(tiles, ones, 1, O, dtype)
    images = max(PLANE_BYTES // ((V_size + M_size) * dtype.itemsize), -(-ROWS // rows))
    images = -(-N // -(-N // images))  # nearly the same number in each slice
    V = _sparse_axes(h.Bt, w.Bt, tiles, phases, images, C, dtype)
    M = _sparse_axes(h.A, w.A, tiles, ones, images, O, dtype)
    U = _sparse_axes(h.G, w.G, phases, ones, C, O, dtype)  # w: C images, of taps with O channels
    return Plan(V, M, U, images, N * rows)


def _layout(rows_at, columns_at, N, C, dtype):
    """Planes (p, q): rows (row of p, row of q, image), columns (column of p, column of q, channel).
    Returns each plane's start and row step, the stacks of equal planes, and the total size."""
    line = 64 // dtype.itemsize
    P, Q = (len(r) for r in rows_at)
    start, step = np.zeros((P, Q), int), np.zeros((P, Q), int)
    stacks, size = [], 0
    for ps, qs in product(*[(range(n - 1), range(n - 1, n)) for n in (P, Q)]):
        if not len(ps) or not len(qs):
            continue
        p, q = ps[0], qs[0]
        rows = int(rows_at[0][p] * rows_at[1][q]) * N
        columns = int(columns_at[0][p] * columns_at[1][q]) * C
        # An odd number of cache lines from plane to plane: powers of 2 would share one cache set.
        stride = (-(-rows * columns // line) | 1) * line
        stacks.append((size, len(ps) * len(qs), rows, columns, stride))
        for k, (p, q) in enumerate(product(ps, qs)):
            start[p, q], step[p, q] = size + k * stride, columns
        size += len(ps) * len(qs) * stride
    return start, step, stacks, size


def _sparse_axes(h, w, rows_at, columns_at, N, C, dtype):
    start, step, stacks, size = _layout(rows_at, columns_at, N, C, dtype)
    of_h, of_w = (slots(*at) for at in zip(rows_at, columns_at, strict=True))
    (p, r, c), (q, s, d) = (a[:, None] for a in of_h), of_w
    step = step[p, q]
    offset = (r * np.array(rows_at[1])[q] + s) * N * step
    offset += start[p, q] + (c * np.array(columns_at[1])[q] + d) * C
    return SparseAxes.of(h, w, offset, step, stacks, size, C, dtype)


@lru_cache(maxsize=1024)
def sizes(image, grid, kernel_size, stride, padding, tile=4):
    """Sizes of V, M (per image and channel) and U (per pair of channels); V * C * O products."""
    both = [
        (np.dot(a.tiles_at(), a.phases_at()), sum(a.tiles_at()), sum(a.phases_at()))
        for a in _cuts(grid, kernel_size, stride, tile)
    ]
    return tuple(int(a * b) for a, b in zip(*both, strict=True))


def _cuts(grid, kernel_size, stride, tile):
    return [cut(*how, tile) for how in zip(grid, kernel_size, stride, strict=True)]


@lru_cache(maxsize=1024)
def roundings(image, grid, kernel_size, stride, padding, C, O, tile=4):
    """An estimate of the largest error of y, dx and dw, relative to their largest number, in units
    of eps / 2 of the dtype. Infinite, before any matrix is made, if the plan would be too large."""
    axes = zip(image, grid, kernel_size, stride, padding, strict=True)
    if not all(_every_tap_is_met(*of_axis) for of_axis in axes):
        return inf  # a large weight that is in no result would still add its rounding error
    cuts = _cuts(grid, kernel_size, stride, tile)
    slots = [len(how.tiles) * len(how.phases) * how.count for how in cuts]
    if any(how.count > MOST for how in cuts) or max(slots) > SLOTS or prod(slots) > SLOTS**1.5:
        return inf
    every = [np.prod([_largest(how, kind) for how in cuts], axis=0) for kind in range(2)]
    terms = np.sqrt([min(C, MANY), min(O, MANY), ROWS])
    return max(((a + b * terms) * kind).max() for (a, b), kind in zip(FITTED, every, strict=True))


def _every_tap_is_met(size, outputs, taps, stride, padding):
    """Whether each tap reads a pixel at least once, not only padding."""
    at = np.arange(outputs)[:, None] * stride + np.arange(taps) - padding
    return ((at >= 0) & (at < size)).any(axis=0).all()


def _largest(how, kind):
    """The largest `amplification` of an axis, over all of its tiles and phases."""
    shapes = product(np.unique(how.tiles).tolist(), np.unique(how.phases).tolist())
    return np.max([amplification(m, r, how.count)[kind] for m, r in shapes], axis=0)


# --- the algorithm --------------------------------------------------------------------------------


class Winograd(Algorithm):
    def __init__(self, N, w, geometry, cost, tile):
        super().__init__(N, w, geometry, cost)
        self.plan = plan(self.images, *geometry, self.C, self.O, w.dtype, tile)
        self.shape = self.C, *geometry.kernel_size, self.O
        w = turned(w.reshape(1, self.O, -1)).reshape(self.shape)
        U = np.empty(self.plan.U.size, w.dtype)
        transform(self.plan.U, w, U)
        self.U = [*self.plan.U.stacks(U)]

    def prepare_back(self):
        self.U_back = [u.transpose(0, 2, 1) for u in self.U]
        if self.plan.rows >= 2 * ROWS:  # BLAS is a third slower with a transposed view
            self.U_back = [*map(np.ascontiguousarray, self.U_back)]

    def correlate(self, x, y, b=None):
        for tile, V, M in self._tiles(x, y):
            transform(self.plan.V, x[tile], V)
            self._write_y(V, M, y[tile], b)

    def correlate_back(self, y, x, b=None):
        for tile, V, M in self._tiles(x, y):
            transform(self.plan.M, y[tile], M)
            self._write_x(V, M, x[tile], b)

    def gradients(self, x, y, x_out=None, y_out=None):
        U = self.plan.U
        dU = np.zeros(U.size, x.dtype)
        for tile, V, M in self._tiles(x, y):
            transform(self.plan.V, x[tile], V)
            transform(self.plan.M, y[tile], M)
            part = dU if tile.start == 0 else scratch(dU.shape, dU.dtype)
            V_back = (v.transpose(0, 2, 1) for v in self.plan.V.stacks(V))
            for v, m, u in zip(V_back, self.plan.M.stacks(M), U.stacks(part), strict=True):
                np.matmul(v, m, out=u)
            if part is not dU:
                for total, more in zip(U.stacks(dU), U.stacks(part), strict=True):
                    total += more
            if x_out is not None:
                self._write_x(V, M, x_out[tile])
            if y_out is not None:
                self._write_y(V, M, y_out[tile])
        return dU

    def finish(self, dU):
        dw = np.empty(self.shape, dU.dtype)
        transform_back(self.plan.U, dU, dw)
        return super().finish(dw.reshape(1, -1, self.O))

    def _tiles(self, x, y):
        """Slices of the batch, and memory for V and M."""
        plan = self.plan
        V, M = (scratch((planes.size,), x.dtype) for planes in (plan.V, plan.M))
        for start in range(0, len(x), plan.images):
            if len(x) - start < plan.images:  # dw sums all rows, also those without an image
                V[...] = M[...] = 0
            yield slice(start, start + plan.images), V, M

    def _write_y(self, V, M, y, b=None):
        _multiply(self.plan.V.stacks(V), self.U, self.plan.M.stacks(M))
        transform_back(self.plan.M, M, y)
        if b is not None:
            y += b

    def _write_x(self, V, M, x, b=None):
        _multiply(self.plan.M.stacks(M), self.U_back, self.plan.V.stacks(V))
        transform_back(self.plan.V, V, x)
        if b is not None:
            x += b


def _multiply(a, b, out):
    """A product for each pair of points."""
    for left, right, result in zip(a, b, out, strict=True):
        np.matmul(left[..., :MANY], right[:, :MANY], out=result)
        for k in range(MANY, left.shape[2], MANY):
            part = scratch(result.shape, result.dtype)
            np.matmul(left[..., k : k + MANY], right[:, k : k + MANY], out=part)
            result += part
