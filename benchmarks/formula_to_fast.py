"""Time the steps from a formula to its kernel, for conv2d, batch norm and Adam.

    python benchmarks/formula_to_fast.py [TABLE ...] [--steps 15]

docs/from-formula-to-fast.md shows the tables and explains each line. The lines of a table are
measured in turns (see measure.py). Columns:

    ms              median and quartiles of `--steps`. ~ marks an estimate: loops in Python run on a
                    small part of the data, and their time is multiplied by the ratio of sizes
    ns              per item that the title counts
    times as fast   compared with the line that has 1 here
    error           the largest error, relative to the largest number of the result in float64

"all cores": the kernels' threads, with one BLAS thread in each. "BLAS's threads": its own threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from jobs import channels_last
from measure import (
    RUNS,
    alternate,
    machine_line,
    parser,
    positive,
    problems_in_one_line,
    spread,
    times,
)
from numba import config, njit

import scratchvae as sv
from scratchvae import ops
from scratchvae.optim import adam_step
from scratchvae.runs.environment import machine_facts

KERNELS = "scratchvae.kernels.cpu"
algorithms: Any = import_module(f"{KERNELS}.convolution.algorithms")
correlate: Any = import_module(f"{KERNELS}.convolution.correlate")
winograd: Any = import_module(f"{KERNELS}.convolution.winograd")
reductions: Any = import_module(f"{KERNELS}.runtime.reductions")
threads: Any = import_module(f"{KERNELS}.runtime.threads")
ALL = float("inf")  # a cost that makes `share` use every core


class Line(NamedTuple):
    name: str
    run: Callable[[], Any]
    times: float = 1.0  # size of the whole / size of what `run` computes
    role: str = ""  # "base": the lines from here on are compared with it; "part": of the line above


class Table(NamedTuple):
    title: str
    many: int  # how many items the title counts
    lines: list[Line]
    exact: np.ndarray | None = None  # the float64 result, for lines that return an array like it
    note: str = ""


def normal(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, "float32") for shape in shapes]


def with_value(owner: Any, name: str, value: Any, run: Callable[[], Any]) -> Callable[[], Any]:
    """`run` with owner.name set to this value."""
    return patch.object(owner, name, value)(run)


one_core = partial(with_value, config, "NUMBA_NUM_THREADS", 1)


# --- conv2d --------------------------------------------------------------------------------------


@njit(nogil=True, fastmath=True)
def loops(x: Any, w: Any, b: Any, y: Any) -> None:
    """The formula for stride 2 and a padded x (N, H, W, C), output channels in the inner loop."""
    for n in range(len(y)):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                total = y[n, i, j]
                total[:] = b
                for u in range(w.shape[0]):
                    for v in range(w.shape[1]):
                        for c in range(w.shape[2]):
                            number, weights = x[n, 2 * i + u, 2 * j + v, c], w[u, v, c]
                            for o in range(total.size):
                                total[o] += number * weights[o]


def conv2d() -> Table:
    """Layer conv2 of model `conv`."""
    x, w, b = normal((128, 32, 14, 14), (64, 32, 4, 4), (64,))
    x = channels_last(x)
    (N, C, H, W), (O, _, KH, KW), (OH, OW) = x.shape, w.shape, (7, 7)
    geometry = algorithms.Geometry((H, W), (OH, OW), (KH, KW), (2, 2), (1, 1))

    def naive() -> None:
        ops.conv2d.conv2d_naive(x[:1, :8], w[:1, :8], None, 2, 1)

    def reference(x: np.ndarray = x) -> np.ndarray:
        return ops.conv2d_forward.reference(x, w.astype(x.dtype), b.astype(x.dtype), 2, 1)[0]

    # The two parts of the reference's tensordot
    cells = ops.windows.windows(ops.windows.pad2d(x, (1, 1)), (KH, KW), (2, 2))

    def windows_copied() -> np.ndarray:
        return cells.transpose(0, 2, 3, 1, 4, 5).reshape(N * OH * OW, C * KH * KW)

    matrix, w_columns = windows_copied(), w.reshape(O, -1).T

    # Channels last, with image rows and weights as in the kernels
    padded = np.zeros((N, H + 2, W + 2, C), "float32")
    padded[:, 1:-1, 1:-1] = x.transpose(0, 2, 3, 1)
    w_last = np.ascontiguousarray(w.transpose(2, 3, 1, 0))  # (KH, KW, C, O)
    w_rows = w_last.reshape(-1, O)
    patches = ops.windows.windows(padded.transpose(0, 3, 1, 2), (KH, KW), (2, 2))
    patches = patches.transpose(0, 2, 3, 4, 5, 1)  # (N, OH, OW, KH, KW, C), a view
    rows, y = np.empty(patches.shape, "float32"), np.empty((N, OH, OW, O), "float32")
    result = y.transpose(0, 3, 1, 2)

    def copy(part: slice) -> None:
        np.copyto(rows[part], patches[part])

    def product(part: slice) -> None:
        np.matmul(rows[part].reshape(-1, len(w_rows)), w_rows, out=y[part].reshape(-1, O))
        y[part] += b

    def both(part: slice) -> None:
        copy(part)
        product(part)

    def two_systems() -> None:
        threads.share(copy, N, ALL)
        product(slice(N))  # with BLAS's threads

    def whole_batch() -> None:
        threads.share(lambda _: both(slice(N)), 1, 0)  # on this thread, with one BLAS thread

    def written(run: Callable[..., Any], *arguments: Any) -> Callable[[], np.ndarray]:
        """A run that returns what it wrote into y."""

        def call() -> np.ndarray:
            run(*arguments)
            return result

        return call

    def algorithm(name: str) -> Callable[[], np.ndarray]:
        chosen, images = correlate.ALGORITHMS[name](N, w, geometry, ALL), x.transpose(0, 2, 3, 1)
        return written(
            threads.share, lambda part: chosen.correlate(images[part], y[part], b), N, ALL
        )

    direct = algorithm("direct")
    lines = [
        Line("naive: loops in Python", naive, times=N * O * C / 8),
        Line("naive: loops compiled, 1 core", written(loops, padded, w_last, b, y)),
        Line("reference", reference, role="base"),
        Line("  of it: windows copied", windows_copied, role="part"),
        Line("  of it: product, BLAS's threads", lambda: matrix @ w_columns, role="part"),
        Line("channels last, patches, product, 1 core", written(whole_batch)),
        Line("the same, all cores, BLAS's threads", written(two_systems)),
        Line("the same, all cores, own images", written(threads.share, both, N, ALL)),
        Line("no patches, sums in registers, 1 core", one_core(direct)),
        Line("no patches, sums in registers, all cores", direct),
    ]
    count = N * OH * OW * O * C * KH * KW
    note = f"multiplications: {count / 1e6:.1f} million"
    for tile in (2, 4):
        run = algorithm(f"winograd_{tile}")
        lines.append(Line(f"Toom-Cook, {tile} x {tile} outputs, all cores", run))
        products = N * C * O * winograd.sizes(*geometry, tile)[0]
        note += f", Toom-Cook {tile} x {tile} {products / 1e6:.1f}"
    lines.append(Line("kernel, as it is called", lambda: ops.conv2d_forward(x, w, b, 2, 1)[0]))
    exact = reference(x.astype("float64"))
    title = f"conv2d {x.shape} -> {exact.shape}, kernel 4, stride 2, padding 1: multiplications"
    return Table(title, count, lines, exact, note)


# --- Batch norm ----------------------------------------------------------------------------------


def batch_norm() -> Table:
    """The largest of model `celeba`, in training."""
    (x,) = normal((128, 32, 32, 32))
    x = channels_last(x + np.float32(1))
    few = channels_last(x.reshape(128, 8, 64, 64))
    a, y = np.empty_like(x), np.empty_like(x)

    def arguments(x: np.ndarray) -> tuple[Any, ...]:
        zeros, ones = np.zeros(x.shape[1], x.dtype), np.ones(x.shape[1], x.dtype)
        return x, zeros, ones, ones, zeros, True

    def naive() -> None:
        ops.batch_norm.batch_norm_naive(*arguments(x[:1]))

    def first(op: Callable[..., Any], x: np.ndarray = x) -> np.ndarray:
        return op(*arguments(x))[0]

    kernel = partial(first, ops.batch_norm_forward)
    reference = partial(first, ops.batch_norm_forward.reference)

    def in_place() -> np.ndarray:
        """The reference's expressions, one after the other, written into two given arrays."""
        M, eps = x.size // x.shape[1], 1e-5
        _, _, _, w, b, _ = arguments(x)
        mean = x.sum(axis=(2, 3)).sum(axis=0) / M
        np.subtract(x, mean[:, None, None], out=a)
        np.square(a, out=a)
        var = a.sum(axis=(2, 3)).sum(axis=0) / M
        np.subtract(x, mean[:, None, None], out=a)
        np.multiply(a, ((var + eps) ** -0.5)[:, None, None], out=a)
        np.multiply(w[:, None, None], a, out=y)
        return np.add(y, b[:, None, None], out=y)

    rows, target = (array.transpose(0, 2, 3, 1).reshape(len(x), -1) for array in (x, y))

    def copy() -> None:
        threads.share(lambda part: np.copyto(target[part], rows[part]), len(rows), ALL)

    a_row_at_a_time = with_value(reductions, "LANES", 1, partial(kernel, few))
    lines = [
        Line("naive: loops in Python", naive, times=len(x)),
        Line("reference", reference, role="base"),
        Line("the same, memory used again", in_place),
        Line("kernel: two passes, 1 core", one_core(kernel)),
        Line("kernel: two passes, all cores", kernel),
        Line("to copy as many bytes, all cores", copy, times=3 / 2),
        Line("8 channels: reference", partial(reference, few), role="base"),
        Line("8 channels: a row at a time, all cores", a_row_at_a_time),
        Line("8 channels: rows side by side, all cores", partial(kernel, few)),
    ]
    title = f"batch_norm {x.shape}, training, forward: numbers"
    return Table(title, x.size, lines, reference(x.astype("float64")))


# --- Adam ----------------------------------------------------------------------------------------


def adam_naive(value: Any, grad: Any, m: Any, v: Any, step: int, *others: Any) -> None:
    """adam_step's formula, parameter by parameter."""
    lr, beta1, beta2, eps, weight_decay, _ = others
    for i in range(len(value)):
        g = grad[i] + weight_decay * value[i]
        m[i] = beta1 * m[i] + (1 - beta1) * g
        v[i] = beta2 * v[i] + (1 - beta2) * g * g
        m_hat, v_hat = m[i] / (1 - beta1**step), v[i] / (1 - beta2**step)
        value[i] -= lr * m_hat / (np.sqrt(v_hat) + eps)


def adam() -> Table:
    """As many parameters as model `conv` has."""
    start = normal(*[(1_691_369,)] * 4)
    start[3] **= 2
    s, t = np.empty_like(start[0]), np.empty_like(start[0])
    settings = (1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)

    def in_place(value: Any, grad: Any, m: Any, v: Any, step: int, *others: Any) -> None:
        """The reference's expressions, one after the other, written into two given arrays."""
        lr, beta1, beta2, eps, weight_decay, _ = others
        g = np.add(grad, np.multiply(weight_decay, value, out=s), out=s)
        m *= beta1
        m += np.multiply(1 - beta1, g, out=t)
        v *= beta2
        v += np.multiply(np.multiply(1 - beta2, g, out=t), g, out=t)
        m_hat, v_hat = np.divide(m, 1 - beta1**step, out=s), np.divide(v, 1 - beta2**step, out=t)
        root = np.add(np.sqrt(v_hat, out=t), eps, out=t)
        value -= np.divide(np.multiply(lr, m_hat, out=s), root, out=s)

    def once(update: Callable[..., None], arrays: list[np.ndarray]) -> np.ndarray:
        update(*arrays, *settings)
        return arrays[0]

    def line(name: str, update: Callable[..., None], around: Any = lambda run: run) -> Line:
        run = partial(once, update, [a.copy() for a in start])
        return Line(name, around(run), role="base" if name == "reference" else "")

    few, spare = [a[:10_000].copy() for a in start], [a.copy() for a in start]

    def copy() -> None:
        def work(part: slice) -> None:
            np.copyto(spare[1][part], spare[0][part])
            np.copyto(spare[3][part], spare[2][part])

        threads.share(work, s.size, ALL)

    lines = [
        Line("naive: loops in Python", lambda: once(adam_naive, few), times=s.size / len(few[0])),
        line("reference", adam_step.reference),
        line("the same, memory used again", in_place),
        line("kernel: one pass, 1 core", adam_step, one_core),
        line("kernel: one pass, all cores", adam_step),
        Line("to copy as many bytes, all cores", copy, times=7 / 4),
    ]
    exact = once(adam_step.reference, [a.astype("float64") for a in start])
    return Table(f"adam_step, {s.size:,} parameters", s.size, lines, exact)


# --- Sharing, and small arrays -------------------------------------------------------------------


def hundred(call: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
    def run() -> None:
        for _ in range(100):
            call(*arguments)

    return run


def sharing() -> Table:
    """`share` with no work, and with a loop that keeps the interpreter lock."""

    def nothing(part: slice) -> None:
        pass

    def loop(part: slice) -> None:
        total = 0
        for k in range(part.start, part.stop):
            total += k

    share_nothing = hundred(threads.share, nothing, 2, ALL)
    share_loop = hundred(threads.share, loop, 10_000, ALL)
    sleepers: list[Any] = []  # workers that sleep without polling
    asleep = with_value(threads, "_workers", sleepers, share_nothing)
    asleep = with_value(threads, "FOR_WORK", 0, asleep)
    lines = [
        Line("no work, the other thread asleep", asleep, role="base"),
        Line("no work, the other thread awake", share_nothing),
        Line("a loop in Python, 1 core", one_core(share_loop), role="base"),
        Line("a loop in Python, all cores", share_loop),
    ]
    return Table("100 calls of share", 100, lines)


def small() -> Table:
    """Sizes at which a kernel is not faster."""
    x, w, b, grad = normal((1, 8, 8, 8), (8, 8, 3, 3), (8,), (100,))
    adam = (grad.copy(), grad, grad.copy(), grad**2, 1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)
    lines = []
    for name, call, arguments in (
        ("conv2d", ops.conv2d_forward, (x, w, b, 1, 1)),
        ("batch_norm", ops.batch_norm_forward, (x, b, b**2, b, b, True)),
        ("adam_step", adam_step, adam),
    ):
        lines.append(Line(f"{name}: reference", hundred(call.reference, *arguments), role="base"))
        lines.append(Line(f"{name}: kernel", hundred(call, *arguments)))
    title = "100 calls with one image (1, 8, 8, 8), kernel 3 x 3, or 100 parameters"
    return Table(title, 100, lines)


# --- The program ---------------------------------------------------------------------------------

TABLES = {f.__name__: f for f in (conv2d, batch_norm, adam, sharing, small)}
HERE: Any = SimpleNamespace(call=lambda _, *given: times(*given))  # a worker for `alternate`


def show(table: Table, steps: int) -> None:
    RUNS.clear()
    RUNS.update({line.name: line.run for line in table.lines})
    errors = [error(line.run(), table.exact) for line in table.lines]
    found = alternate([(HERE, line.name) for line in table.lines], steps)
    print(f"\n{table.title}")
    print(f"{'':40} {'ms':>24} {'ns each':>8} {'times as fast':>14} {'error':>7}")
    spreads = [spread([ms * line.times for ms in found[line.name]]) for line in table.lines]
    rows = list(zip(table.lines, spreads, errors, strict=True))
    base = next(median for line, (_, median, _), _ in rows if line.role == "base")
    for line, (low, median, high), wrong in rows:
        base = median if line.role == "base" else base
        ms = f"{'~' * (line.times > 10)}{digits(median)} ({digits(low)}-{digits(high)})"
        faster = f"{base / median:.2g}" if 10 * base >= median else f"1/{median / base:,.0f}"
        faster = "" if line.role == "part" else faster
        each = digits(1e6 * median / table.many)
        print(f"{line.name:40} {ms:>24} {each:>8} {faster:>14} {wrong:>7}".rstrip())
    print(table.note, end="\n" * bool(table.note), flush=True)


def error(result: Any, exact: np.ndarray | None) -> str:
    """Of the first run: Adam's weights move in the next ones."""
    if exact is None or not isinstance(result, np.ndarray) or result.shape != exact.shape:
        return ""
    return f"{np.abs(result - exact).max() / np.abs(exact).max():.0e}"


def digits(number: float) -> str:
    """Three digits, or all digits before the decimal point."""
    places = max(0, 2 - math.floor(math.log10(number)))
    return f"{number:,.{places}f}"


def main() -> None:
    options = parser(__doc__)
    add = options.add_argument
    shown = f"only these of {', '.join(TABLES)}"
    add("tables", nargs="*", choices=TABLES, metavar="TABLE", help=shown)
    add("--steps", type=positive, default=15, metavar="N", help="timed runs each (default: 15)")
    given = options.parse_args()
    print(machine_line(machine_facts()))
    sv.use("numba")
    for name in given.tables or TABLES:
        show(TABLES[name](), given.steps)


if __name__ == "__main__":
    with problems_in_one_line():
        main()
