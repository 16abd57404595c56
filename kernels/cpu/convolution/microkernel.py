"""The microkernels of direct.py, written in LLVM's vectors: their sums stay in registers.

    sum_terms     y[p]   = sum over t of  x[windows[p] + offsets[t]] w[t]      for MR windows p
    sum_windows   dw[t] += sum over p of  x[windows[p] + offsets[t]] y[p]      for MR terms t

w[t], y[p] and dw[t] have a number for each channel; x is a flat array. (Term t has row `rows[t]` of
w and dw: the weights keep an order of their own.) A tile of MR x NR sums, NR channels being one or
two vectors, lies in registers. For each step of the sum come the vectors of w[t] or y[p], and MR
numbers of x, each copied into all lanes of a vector: MR * vectors multiplications for MR + vectors
loads. The names, and the panels into which w is packed, are those of the matrix products of BLAS:
Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008); Van Zee & van de
Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality" (2015). But here x is read
where it lies, and no matrix of patches is made.

With fewer channels than lanes most of these lanes would be empty. Then one channel is computed at a
time, with the terms in the lanes: runs of neighbours in x.

    sum_term_runs     y[p]   = sum over k of the lanes of  x[windows[p] + runs[k] ...] * w[k]
    sum_window_runs   dw[k] += sum over p of  x[windows[p] + runs[k] ...] y[p]

Numba cannot be told to keep a number in a register. So Python loops write the tile out, number by
number, when a kernel is compiled. A processor with shorter vectors takes several for one of these.
"""

import platform

from llvmlite import binding, ir
from numba import types
from numba.core.cgutils import (
    alloca_once_value,
    for_range,
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
TERMS = 256  # summed in one go: a long sum in float32 loses digits


@intrinsic
def sum_terms(_, x, windows, offsets, w, rows, b, y, targets, start, end, channel, c):
    """Write y[targets[p] + channel:] for windows p from start to end: as many channels as the panel
    w (rows, columns) has from column c on and a tile holds. Last comes b."""
    kinds = x, windows, offsets, w, rows, b, y, targets, start, end, channel, c

    def generate(context, builder, signature, arguments):
        values = _pointers(context, builder, kinds, arguments)
        x, windows, offsets, w, rows, b, y, targets, start, end, channel, c = values
        _, columns, distance = _layout(context, builder, kinds[3], arguments[3])
        [terms] = _shape(context, builder, kinds[2], arguments[2])

        def write(tile, at, inside):
            ps = tile.below(at, end)
            sources = [builder.gep(x, [tile.item(windows, p)]) for p in ps]
            with for_range_slice(builder, INT(0), terms, INT(TERMS), INT) as (first, _):
                last = tile.smaller(builder.add(first, INT(TERMS)), terms)
                with for_range_slice(builder, first, last, INT(1), INT) as (t, _):
                    row = builder.mul(tile.item(rows, t), distance)
                    weights = tile.load(builder.gep(w, [builder.add(row, c)]), inside)
                    tile.add(weights, sources, tile.item(offsets, t))
                tile.move_sums()
            biases = tile.load(builder.gep(b, [channel]), inside)
            for p, totals in zip(ps, tile.totals, strict=True):
                both = zip(totals, biases, strict=True)
                new = [builder.fadd(builder.load(total), bias) for total, bias in both]
                target = builder.gep(y, [builder.add(tile.item(targets, p), channel)])
                tile.store(new, target, inside)

        columns = builder.sub(columns, c)
        _in_tiles(context, builder, kinds[0].dtype, columns, start, end, write)
        return context.get_dummy_value()

    return types.void(*kinds), generate


@intrinsic
def sum_windows(_, x, windows, offsets, y, dw, rows, first, last, channel, c):
    """Add to the panel dw (rows, columns), for all terms, and for columns from c on that a tile
    holds, the products of windows first..last with y (windows, channels) from that channel on."""
    kinds = x, windows, offsets, y, dw, rows, first, last, channel, c

    def generate(context, builder, signature, arguments):
        values = _pointers(context, builder, kinds, arguments)
        x, windows, offsets, y, dw, rows, first, last, channel, c = values
        terms, columns, distance = _layout(context, builder, kinds[4], arguments[4])
        _, _, y_distance = _layout(context, builder, kinds[3], arguments[3])

        def add(tile, at, inside):
            ts = tile.below(at, terms)
            sources = [builder.gep(x, [tile.item(offsets, t)]) for t in ts]
            with for_range_slice(builder, first, last, INT(1), INT) as (p, _):
                y_row = builder.gep(y, [builder.add(builder.mul(p, y_distance), channel)])
                tile.add(tile.load(y_row, inside), sources, tile.item(windows, p))
            starts = [builder.mul(tile.item(rows, t), distance) for t in ts]
            targets = [builder.gep(dw, [builder.add(start, c)]) for start in starts]
            before = [tile.load(target, inside) for target in targets]  # all, before any store:
            for target, olds, sums in zip(targets, before, tile.sums, strict=True):
                both = zip(olds, sums, strict=True)  # two targets may be one
                new = [builder.fadd(old, builder.load(a)) for old, a in both]
                tile.store(new, target, inside)

        columns = builder.sub(columns, c)
        _in_tiles(context, builder, kinds[0].dtype, columns, INT(0), terms, add)
        return context.get_dummy_value()

    return types.void(*kinds), generate


def _in_tiles(context, builder, dtype, columns, start, end, kernel):
    """Call kernel(tile, at, inside) for tiles of rows at = start, ... below end. With so many
    columns they have two full vectors, and `inside` is None; or two vectors or one with masks, and
    it is the number of columns. All three are compiled."""
    lanes = VECTOR_BYTES // (dtype.bitwidth // 8)

    def loop(vectors, inside=columns):
        with for_range_slice(builder, start, end, INT(MR[vectors]), INT) as (at, _):
            kernel(_Tile(context, builder, dtype, vectors), at, inside)

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


@intrinsic
def sum_term_runs(_, x, windows, runs, run_lengths, w, b, y, targets, at, count, c):
    """Write y[targets[p] + c] for windows p = at, at + 1, ... below count. w (runs, lanes) is
    channel c's; b, a number, comes last. Of run k only `run_lengths[k]` numbers are read."""
    kinds = x, windows, runs, run_lengths, w, b, y, targets, at, count, c

    def generate(context, builder, signature, arguments):
        values = _pointers(context, builder, kinds, arguments)
        x, windows, runs, run_lengths, w, b, y, targets, at, count, c = values
        length, lanes, _ = _layout(context, builder, kinds[4], arguments[4])
        tile = _Tile(context, builder, kinds[0].dtype, 1, RUN_MR)

        ps = tile.below(at, count)
        sources = [builder.gep(x, [tile.item(windows, p)]) for p in ps]
        with for_range_slice(builder, INT(0), length, INT(TERMS), INT) as (first, _):
            end = tile.smaller(builder.add(first, INT(TERMS)), length)
            with for_range_slice(builder, first, end, INT(1), INT) as (k, _):
                weights = tile.load(builder.gep(w, [builder.mul(k, lanes)]))
                tile.add_runs(sources, tile.item(runs, k), weights, tile.item(run_lengths, k))
            tile.move_sums()
        for p, [total] in zip(ps, tile.totals, strict=True):
            new = builder.fadd(tile.sum_of_lanes(builder.load(total)), b)
            builder.store(new, builder.gep(y, [builder.add(tile.item(targets, p), c)]))
        return context.get_dummy_value()

    return types.void(*kinds), generate


@intrinsic
def sum_window_runs(_, x, windows, runs, y, dw, first, end, k, c, channels):
    """Add to rows k... of dw (runs, lanes) the products of windows first..end with y's channel c.
    dw and runs are filled up to whole tiles. Lanes beyond a run's end are sums of other numbers."""
    kinds = x, windows, runs, y, dw, first, end, k, c, channels

    def generate(context, builder, signature, arguments):
        values = _pointers(context, builder, kinds, arguments)
        x, windows, runs, y, dw, first, end, k, c, channels = values
        _, lanes, _ = _layout(context, builder, kinds[4], arguments[4])
        tile = _Tile(context, builder, kinds[0].dtype, 1, RUN_MR)

        ks = [builder.add(k, INT(r)) for r in tile.rows]
        sources = [builder.gep(x, [tile.item(runs, one)]) for one in ks]
        with for_range(builder, builder.sub(end, first)) as loop:
            p = builder.add(first, loop.index)
            number = tile.item(y, builder.add(builder.mul(p, channels), c))
            tile.add_runs(sources, tile.item(windows, p), [tile.copies(number)])
        for one, [total] in zip(ks, tile.sums, strict=True):
            target = builder.gep(dw, [builder.mul(one, lanes)])
            tile.store([builder.fadd(tile.load(target)[0], builder.load(total))], target)
        return context.get_dummy_value()

    return types.void(*kinds), generate


def _pointers(context, builder, kinds, arguments):
    """Arrays as pointers to their first number, all else as it is."""
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else value
        for kind, value in zip(kinds, arguments, strict=True)
    ]


def _shape(context, builder, kind, value):
    return unpack_tuple(builder, context.make_array(kind)(context, builder, value).shape)


def _layout(context, builder, kind, value):
    """Of a matrix whose rows have no gaps: its rows, columns, and numbers from row to row."""
    strides = context.make_array(kind)(context, builder, value).strides
    distance = builder.sdiv(builder.extract_value(strides, 0), INT(kind.dtype.bitwidth // 8))
    return *_shape(context, builder, kind, value), distance


class _Tile:
    """Rows of sums, each of one or two vectors, zero at first, which LLVM keeps in registers; and
    totals, for more terms than float32 can sum in one go."""

    def __init__(self, context, builder, dtype, vectors, rows=None):
        self.builder, self.rows = builder, range(rows or MR[vectors])
        self.itemsize = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.itemsize
        self.starts = [INT(v * self.lanes) for v in range(vectors)]
        self.vector = ir.VectorType(context.get_data_type(dtype), self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.sums, self.totals = (
            [[alloca_once_value(builder, self.zero) for _ in range(vectors)] for _ in self.rows]
            for _ in range(2)
        )

    def below(self, start, end):
        """start, start + 1, ... for the rows; where that is beyond the end, the last one again."""
        last = self.builder.sub(end, INT(1))
        return [self.smaller(self.builder.add(start, INT(r)), last) for r in self.rows]

    def smaller(self, a, b):
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def move_sums(self):
        """Into the totals, and begin new ones."""
        for sums, totals in zip(self.sums, self.totals, strict=True):
            for one, total in zip(sums, totals, strict=True):
                new = self.builder.fadd(self.builder.load(total), self.builder.load(one))
                self.builder.store(new, total)
                self.builder.store(self.zero, one)

    def add(self, row, sources, offset):
        """To each line of sums: the row of vectors times its number, `offset` behind its source."""
        for sums, source in zip(self.sums, sources, strict=True):
            number = self.copies(self.item(source, offset))
            for total, vector in zip(sums, row, strict=True):
                self._multiply_add(total, number, vector)

    def add_runs(self, sources, offset, row, inside=None):
        """To each line of sums: the one vector in row times its run, `offset` behind its source."""
        for [total], source in zip(self.sums, sources, strict=True):
            [run] = self.load(self.builder.gep(source, [offset]), inside)
            self._multiply_add(total, run, row[0])

    def _multiply_add(self, total, a, b):
        product = self.builder.fmul(a, b, flags=["contract"])
        new = self.builder.fadd(self.builder.load(total), product, flags=["contract"])
        self.builder.store(new, total)

    def sum_of_lanes(self, vector):
        """In any order: `reassoc`."""
        number = vector.type.element
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{8 * self.itemsize}"
        kind = ir.FunctionType(number, [number, vector.type])
        add = get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(add, [number(0), vector], fastmath=["reassoc"])

    def item(self, array, index):
        return self.builder.load(self.builder.gep(array, [index]))

    def copies(self, number):
        """A vector full of it."""
        one = self.builder.insert_element(
            ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined), number, SHORT(0)
        )
        zeros = ir.Constant(ir.VectorType(SHORT, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, one, zeros)

    def load(self, pointer, inside=None):
        """A row of vectors. Numbers from the `inside`-th on are zero, and memory is not touched."""
        if inside is None:
            return [self.builder.load(p, align=self.itemsize) for p in self._vectors(pointer)]
        return [
            self._masked("load", self.vector, [p, SHORT(self.itemsize), mask, self.zero])
            for p, mask in zip(self._vectors(pointer), self._masks(inside), strict=True)
        ]

    def store(self, values, pointer, inside=None):
        """Likewise."""
        if inside is None:
            for value, p in zip(values, self._vectors(pointer), strict=True):
                self.builder.store(value, p, align=self.itemsize)
            return
        for value, p, mask in zip(values, self._vectors(pointer), self._masks(inside), strict=True):
            self._masked("store", ir.VoidType(), [value, p, SHORT(self.itemsize), mask])

    def _vectors(self, pointer):
        pointers = [self.builder.gep(pointer, [start]) for start in self.starts]
        return [self.builder.bitcast(p, self.vector.as_pointer()) for p in pointers]

    def _masks(self, inside):
        lanes = ir.Constant(ir.VectorType(INT, self.lanes), [*range(self.lanes)])
        left = [self.copies(self.builder.sub(inside, start)) for start in self.starts]
        return [self.builder.icmp_signed("<", lanes, count) for count in left]

    def _masked(self, name, result, arguments):
        name = f"llvm.masked.{name}.v{self.lanes}f{8 * self.itemsize}.p0"
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments)
