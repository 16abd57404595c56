"""The microkernels of direct.py, written with LLVM's vectors. Their sums stay in registers.

    sum_terms     y[p]   = sum over t of  x[windows[p] + offsets[t]] w[t]      for MR windows p
    sum_windows   dw[t] += sum over p of  x[windows[p] + offsets[t]] y[p]      for MR terms t

x is a flat array; w[t], y[p] and dw[t] have a number for each channel; w and dw store term t in row
rows[t]. A tile of MR x NR sums is kept in registers; NR channels are one or two vectors. Each step
loads the vectors of w[t] or y[p] and broadcasts MR numbers of x to all lanes: MR * vectors
multiplications for MR + vectors loads. Names and packed panels are those of BLAS, but x is read in
place, without a matrix of patches: Goto & van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008); Van Zee & van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS
Functionality" (2015).

With fewer channels than lanes, some lanes would be unused. Then the lanes hold terms, as runs of
neighbours in x, one channel at a time.

    sum_term_runs     y[p]   = sum over k of the lanes of  x[windows[p] + runs[k] ...] * w[k]
    sum_window_runs   dw[k] += sum over p of  x[windows[p] + runs[k] ...] y[p]

Numba cannot assign a number to a register, so Python loops unroll the tile when a kernel is
compiled.
"""

import platform
from functools import wraps
from typing import NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core.cgutils import (
    alloca_once_value,
    for_range_slice,
    get_or_insert_function,
    unpack_tuple,
)
from numba.extending import intrinsic

INT, SHORT = ir.IntType(64), ir.IntType(32)

_features = binding.get_host_cpu_features()
VECTOR_BYTES = 64 if _features.get("avx512f") else 32 if _features.get("avx") else 16  # of a vector
_many = VECTOR_BYTES == 64 or platform.machine() in ("aarch64", "arm64")  # 32 registers, not 16
MR = 0, 8, 10 if _many else 5  # rows of a tile, by the number of vectors in a row
RUN_MR = 8
TERMS = 256  # summed at a time, because a long sum in float32 loses digits


def _microkernel(write):
    """A Numba intrinsic whose code write(builder, *arguments) emits, with arrays as _Arrays."""

    @intrinsic
    @wraps(write)
    def typed(_, *kinds):
        def generate(context, builder, signature, arguments):
            write(
                builder,
                *(
                    _unpacked(context, builder, *both)
                    for both in zip(kinds, arguments, strict=True)
                ),
            )
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return typed


class _Array(NamedTuple):
    """An array with contiguous rows; distance: numbers from one row to the next."""

    data: ir.Value
    shape: tuple
    distance: ir.Value
    itemsize: int


def _unpacked(context, builder, kind, value):
    if not isinstance(kind, types.Array):
        return value
    array, itemsize = context.make_array(kind)(context, builder, value), kind.dtype.bitwidth // 8
    distance = builder.sdiv(builder.extract_value(array.strides, 0), INT(itemsize))
    return _Array(array.data, unpack_tuple(builder, array.shape), distance, itemsize)


@_microkernel
def sum_terms(builder, x, windows, offsets, w, rows, b, y, targets, start, end, channel, c):
    """Write y[targets[p] + channel:] for windows p from start to end: as many channels as a tile
    has, or as the panel w (rows, columns) has from column c on. Then add b."""
    [terms], [_, columns] = offsets.shape, w.shape

    def write(tile, at, inside):
        ps = tile.below(at, end)
        sources = [builder.gep(x.data, [tile.item(windows, p)]) for p in ps]
        with for_range_slice(builder, INT(0), terms, INT(TERMS), INT) as (first, _):
            last = tile.smaller(builder.add(first, INT(TERMS)), terms)
            with for_range_slice(builder, first, last, INT(1), INT) as (t, _):
                row = builder.mul(tile.item(rows, t), w.distance)
                weights = tile.load(builder.gep(w.data, [builder.add(row, c)]), inside)
                tile.add(weights, sources, tile.item(offsets, t))
            tile.move_sums()
        biases = tile.load(builder.gep(b.data, [channel]), inside)
        for p, totals in zip(ps, tile.totals, strict=True):
            both = zip(totals, biases, strict=True)
            new = [builder.fadd(builder.load(total), bias) for total, bias in both]
            target = builder.gep(y.data, [builder.add(tile.item(targets, p), channel)])
            tile.store(new, target, inside)

    _in_tiles(builder, x, builder.sub(columns, c), start, end, write)


@_microkernel
def sum_windows(builder, x, windows, offsets, y, dw, rows, first, last, channel, c):
    """Add to the panel dw (rows, columns), for all terms and for a tile's columns from c on, the
    products of windows first..last with y (windows, channels), from `channel` on."""
    terms, columns = dw.shape

    def add(tile, at, inside):
        ts = tile.below(at, terms)
        sources = [builder.gep(x.data, [tile.item(offsets, t)]) for t in ts]
        with for_range_slice(builder, first, last, INT(1), INT) as (p, _):
            y_row = builder.gep(y.data, [builder.add(builder.mul(p, y.distance), channel)])
            tile.add(tile.load(y_row, inside), sources, tile.item(windows, p))
        starts = [builder.mul(tile.item(rows, t), dw.distance) for t in ts]
        targets = [builder.gep(dw.data, [builder.add(start, c)]) for start in starts]
        before = [tile.load(target, inside) for target in targets]  # all loads before any store,
        for target, olds, sums in zip(targets, before, tile.sums, strict=True):
            both = zip(olds, sums, strict=True)  # because two targets may be equal
            new = [builder.fadd(old, builder.load(a)) for old, a in both]
            tile.store(new, target, inside)

    _in_tiles(builder, x, builder.sub(columns, c), INT(0), terms, add)


def _in_tiles(builder, x, columns, start, end, kernel):
    """Call kernel(tile, at, inside) for rows at = start, ... below end: with inside=None for tiles
    of two full vectors, else with inside=columns for tiles of one or two masked vectors."""
    lanes = VECTOR_BYTES // x.itemsize

    def loop(vectors, inside=columns):
        with for_range_slice(builder, start, end, INT(MR[vectors]), INT) as (at, _):
            kernel(_Tile(builder, x, vectors, MR[vectors]), at, inside)

    with builder.if_else(builder.icmp_signed(">=", columns, INT(2 * lanes))) as (full, cut_off):
        with full:
            loop(2, inside=None)
        with cut_off:
            more_than_one = builder.icmp_signed(">", columns, INT(lanes))
            with builder.if_else(more_than_one) as (two, one):
                with two:
                    loop(2)
                with one:
                    loop(1)


@_microkernel
def sum_term_runs(builder, x, windows, runs, run_lengths, w, b, y, targets, at, count, c):
    """Write y[targets[p] + c] for windows p = at, at + 1, ... below count. w (runs, lanes) and the
    number b belong to channel c. Only `run_lengths[k]` numbers of run k are read."""
    length, lanes = w.shape
    tile = _Tile(builder, x, 1, RUN_MR)
    ps = tile.below(at, count)
    sources = [builder.gep(x.data, [tile.item(windows, p)]) for p in ps]
    with for_range_slice(builder, INT(0), length, INT(TERMS), INT) as (first, _):
        end = tile.smaller(builder.add(first, INT(TERMS)), length)
        with for_range_slice(builder, first, end, INT(1), INT) as (k, _):
            weights = tile.load(builder.gep(w.data, [builder.mul(k, lanes)]))
            tile.add_runs(sources, tile.item(runs, k), weights, tile.item(run_lengths, k))
        tile.move_sums()
    for p, [total] in zip(ps, tile.totals, strict=True):
        new = builder.fadd(tile.sum_of_lanes(builder.load(total)), b)
        builder.store(new, builder.gep(y.data, [builder.add(tile.item(targets, p), c)]))


@_microkernel
def sum_window_runs(builder, x, windows, runs, y, dw, first, end, k, c, channels):
    """Add to rows k... of dw (runs, lanes) the products of windows first..end with y's channel c.
    dw and runs are padded to whole tiles. Lanes beyond the end of a run hold meaningless sums."""
    _, lanes = dw.shape
    tile = _Tile(builder, x, 1, RUN_MR)
    ks = [builder.add(k, INT(r)) for r in range(RUN_MR)]
    sources = [builder.gep(x.data, [tile.item(runs, one)]) for one in ks]
    with for_range_slice(builder, first, end, INT(1), INT) as (p, _):
        number = tile.item(y, builder.add(builder.mul(p, channels), c))
        tile.add_runs(sources, tile.item(windows, p), [tile.copies(number)])
    for one, [total] in zip(ks, tile.sums, strict=True):
        target = builder.gep(dw.data, [builder.mul(one, lanes)])
        tile.store([builder.fadd(tile.load(target)[0], builder.load(total))], target)


class _Tile:
    """Rows of sums (one or two vectors, in registers), and totals for sums of many terms."""

    def __init__(self, builder, x, vectors, rows):
        self.builder, self.rows, self.itemsize = builder, range(rows), x.itemsize
        self.lanes = VECTOR_BYTES // x.itemsize
        self.starts = [INT(v * self.lanes) for v in range(vectors)]
        self.vector = ir.VectorType(x.data.type.pointee, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.sums, self.totals = (
            [[alloca_once_value(builder, self.zero) for _ in range(vectors)] for _ in self.rows]
            for _ in range(2)
        )

    def below(self, start, end):
        """start, start + 1, ... for the rows; beyond the end, the last one is repeated."""
        last = self.builder.sub(end, INT(1))
        return [self.smaller(self.builder.add(start, INT(r)), last) for r in self.rows]

    def smaller(self, a, b):
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def move_sums(self):
        """Add the sums to the totals and set them to zero."""
        for sums, totals in zip(self.sums, self.totals, strict=True):
            for one, total in zip(sums, totals, strict=True):
                new = self.builder.fadd(self.builder.load(total), self.builder.load(one))
                self.builder.store(new, total)
                self.builder.store(self.zero, one)

    def add(self, row, sources, offset):
        """Add to each row of sums: the vectors in `row` times the number at its source + offset."""
        for sums, source in zip(self.sums, sources, strict=True):
            number = self.copies(self.builder.load(self.builder.gep(source, [offset])))
            for total, vector in zip(sums, row, strict=True):
                self._multiply_add(total, number, vector)

    def add_runs(self, sources, offset, row, inside=None):
        """Add to each row of sums: the vector in `row` times the run at its source + offset."""
        for [total], source in zip(self.sums, sources, strict=True):
            [run] = self.load(self.builder.gep(source, [offset]), inside)
            self._multiply_add(total, run, row[0])

    def _multiply_add(self, total, a, b):
        product = self.builder.fmul(a, b, flags=["contract"])
        new = self.builder.fadd(self.builder.load(total), product, flags=["contract"])
        self.builder.store(new, total)

    def sum_of_lanes(self, vector):
        number, name = vector.type.element, "llvm.vector.reduce.fadd"
        return self._call(name, number, [number(0), vector], fastmath=["reassoc"])

    def item(self, array, index):
        return self.builder.load(self.builder.gep(array.data, [index]))

    def copies(self, number):
        one = self.builder.insert_element(
            ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined), number, SHORT(0)
        )
        zeros = ir.Constant(ir.VectorType(SHORT, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, one, zeros)

    def load(self, pointer, inside=None):
        """A row of vectors. Numbers from the `inside`-th on are zero, and are not read."""
        if inside is None:
            return [self.builder.load(p, align=self.itemsize) for p in self._vectors(pointer)]
        return [
            self._call(
                "llvm.masked.load", self.vector, [p, SHORT(self.itemsize), mask, self.zero], ".p0"
            )
            for p, mask in zip(self._vectors(pointer), self._masks(inside), strict=True)
        ]

    def store(self, values, pointer, inside=None):
        if inside is None:
            for value, p in zip(values, self._vectors(pointer), strict=True):
                self.builder.store(value, p, align=self.itemsize)
            return
        for value, p, mask in zip(values, self._vectors(pointer), self._masks(inside), strict=True):
            arguments = value, p, SHORT(self.itemsize), mask
            self._call("llvm.masked.store", ir.VoidType(), arguments, ".p0")

    def _vectors(self, pointer):
        pointers = [self.builder.gep(pointer, [start]) for start in self.starts]
        return [self.builder.bitcast(p, self.vector.as_pointer()) for p in pointers]

    def _masks(self, inside):
        lanes = ir.Constant(ir.VectorType(INT, self.lanes), [*range(self.lanes)])
        left = [self.copies(self.builder.sub(inside, start)) for start in self.starts]
        return [self.builder.icmp_signed("<", lanes, count) for count in left]

    def _call(self, name, result, arguments, end="", **options):
        name = f"{name}.v{self.lanes}f{8 * self.itemsize}{end}"
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments, **options)
