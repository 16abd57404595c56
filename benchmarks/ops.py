"""Time forward and backward of every op: reference body, Numba kernel and PyTorch, in turns.

    python benchmarks/ops.py [OP ...] [--steps 15]

Medians of `--steps` calls, in milliseconds. An op needs an example case. The sizes come from SIZES,
which has those of the models at batch 128 (`skip`: 32), or else are derived from the example. "-":
there is no kernel, so the reference body runs. The reference, the kernels and PyTorch (if it is
installed) run in separate processes (see measure.py), because their threads would compete for the
cores. PyTorch's function has the op's name (their_ops.py); its backward is only autograd's backward
pass, on a retained graph, for every input that has a gradient. The kernels and PyTorch are timed in
two memory formats, and the better one counts. The last columns are numba / reference and numba /
torch (reference / torch if there is no kernel).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from jobs import channels_last
from measure import (
    RUNS,
    Problem,
    Worker,
    alternate,
    best,
    has_torch,
    machine_line,
    parser,
    positive,
    problems_in_one_line,
    spread,
)
from pair import SAME

import scratchvae as sv
from scratchvae.backend import find_kernel
from scratchvae.ops import CASES
from scratchvae.ops.cases import Case
from scratchvae.runs.environment import machine_facts

PARTS = ("forward", "backward")
NUMBERS = (32, 14, 14)  # the shape of one image, if the sizes are derived
Shapes = dict[str, tuple[int, ...]]


def kernel(x: tuple[int, ...], w: tuple[int, ...], outputs: int) -> Shapes:
    return {"x": x, "w": w, "b": (outputs,)}


def norm(*x: int) -> Shapes:
    return {"x": x} | dict.fromkeys(("running_mean", "running_var", "w", "b"), (x[1],))


DOWN, UP = {"stride": 2, "padding": 1}, {"stride": 2, "padding": 1, "output_padding": 1}
SAME_SIZE = {"padding": 1}

# op -> label -> (arrays in the order of the op's arguments, options)
SIZES: dict[str, dict[str, tuple[Shapes, dict[str, Any]]]] = {
    "conv2d": {
        "conv 1->32": (kernel((128, 1, 28, 28), (32, 1, 4, 4), 32), DOWN),
        "conv 32->64": (kernel((128, 32, 14, 14), (64, 32, 4, 4), 64), DOWN),
        "tiny 16->32": (kernel((128, 16, 14, 14), (32, 16, 3, 3), 32), DOWN),
        "celeba 3->32": (kernel((128, 3, 64, 64), (32, 3, 3, 3), 32), DOWN),
        "celeba 256->512": (kernel((128, 256, 4, 4), (512, 256, 3, 3), 512), DOWN),
        "skip 16->16": (kernel((32, 16, 64, 64), (16, 16, 3, 3), 16), SAME_SIZE),
        "skip 256->256": (kernel((32, 256, 4, 4), (256, 256, 3, 3), 256), SAME_SIZE),
    },
    "conv_transpose2d": {
        "conv 64->32": (kernel((128, 64, 7, 7), (64, 32, 4, 4), 32), DOWN),
        "conv 32->1": (kernel((128, 32, 14, 14), (32, 1, 4, 4), 1), DOWN),
        "celeba 64->32": (kernel((128, 64, 16, 16), (64, 32, 3, 3), 32), UP),
    },
    "linear": {
        "mlp 784->400": (kernel((128, 784), (400, 784), 400), {}),
        "conv 3136->256": (kernel((128, 3136), (256, 3136), 256), {}),
    },
    "batch_norm": {"celeba": (norm(128, 32, 32, 32), {"training": True})},
    "batch_norm_leaky_relu": {"celeba": (norm(128, 32, 32, 32), {"training": True})},
    "max_pool2d": {"skip 2x2": ({"x": (32, 16, 64, 64)}, {"kernel_size": 2})},
    "adaptive_avg_pool2d": {"tiny 7->4": ({"x": (128, 32, 7, 7)}, {"output_size": 4})},
    "upsample_nearest": {"tiny x2": ({"x": (128, 1, 14, 14)}, {"scale_factor": 2})},
    "leaky_relu": {"celeba": ({"x": (128, 32, 32, 32)}, {"negative_slope": 0.01})},
    "tanh": {"celeba": ({"x": (128, 3, 64, 64)}, {})},
    "sigmoid": {"ae": ({"x": (128, 784)}, {})},
    "mean_logvar": {"skip": ({"x": (32, 256, 1, 1)}, {})},
    "reparameterize": {"conv": (dict.fromkeys(("mu", "logvar", "eps"), (128, 20)), {})},
    "kl": {"conv": (dict.fromkeys(("mu", "logvar"), (128, 20)), {})},
    "bce": {"conv": (dict.fromkeys(("logits", "target"), (128, 1, 28, 28)), {})},
    "mse": {"celeba": (dict.fromkeys(("prediction", "target"), (128, 3, 64, 64)), {})},
}


def timed(op: str) -> dict[str, Case]:
    """label -> the op's example with sizes from SIZES, or with derived sizes."""
    example = CASES[op][0]
    sizes = SIZES.get(op) or {"": (derived(example), example.options)}
    return {label: replace(example, shapes=s, options=o) for label, (s, o) in sizes.items()}


def derived(case: Case) -> Shapes:
    """Sizes for timing. If all arrays have one shape: 128 images of NUMBERS, with the same number
    of axes (one axis: 128 numbers). If the shapes differ, 128 replaces the batch size."""
    first, *_ = shapes = list(case.shapes.values())
    if any(shape != first for shape in shapes):
        return {
            name: (128, *shape[1:]) if shape[0] == first[0] else shape
            for name, shape in case.shapes.items()
        }
    axes = len(first) - 1
    numbers = (*NUMBERS[: axes - 1], int(np.prod(NUMBERS[axes - 1 :]))) if axes else ()
    return dict.fromkeys(case.shapes, (128, *numbers))


# --- The parent ----------------------------------------------------------------------------------


def main() -> None:
    options = parser(__doc__)
    add = options.add_argument
    add("ops", nargs="*", metavar="OP", help="only these (default: all)")
    add("--steps", type=positive, default=15, metavar="N", help="timed calls each (default: 15)")
    given = options.parse_args()
    if unknown := sorted(set(given.ops) - set(CASES)):
        options.error(f"no case for {', '.join(unknown)}; there are {', '.join(sorted(CASES))}")
    # Two processes for ours: BLAS's threads would compete with the kernels' threads.
    workers = {"reference": Worker("ops"), "numba": Worker("ops")}
    if has_torch():
        workers["torch"] = Worker("their_ops")
    print(machine_line(machine_facts()))
    columns = f"{'numba':>9} {'torch':>9} {'/ reference':>12} {'/ torch':>8}"
    print(f"{'case':31} {'pass':8} {'reference':>9} {columns}", flush=True)
    for op in given.ops or CASES:
        for label, case in timed(op).items():
            workers["reference"].call("prepare_op", "numpy", op, case)
            work = workers["numba"].call("prepare_op", "numba", op, case)
            if "torch" in workers:
                error: float = workers["torch"].call("prepare_op", op, case.options, *work)
                if not error <= SAME["losses"]:
                    raise Problem(f"{op} {label}: PyTorch and ours differ by {error:.1e}")
            measure(f"{op} {label}", workers, given.steps)


def measure(name: str, workers: dict[str, Worker], steps: int) -> None:
    """A line for each pass."""
    for part in PARTS:
        names = {
            column: [run for run in worker.call("prepared") if run.endswith(part)]
            for column, worker in workers.items()
        }
        found = alternate([(workers[c], run) for c in names for run in names[c]], steps)
        medians = {c: spread(found[best(found, runs)]).median for c, runs in names.items() if runs}
        reference, numba, torch = map(medians.get, ("reference", "numba", "torch"))
        ours = numba or reference
        gain = numba / reference if numba and reference else None
        ratio = ours / torch if ours and torch else None
        cells = f"{number(reference, 9, 3)} {number(numba, 9, 3)} {number(torch, 9, 3)}"
        print(f"{name:31} {part:8} {cells} {number(gain, 12, 2)} {number(ratio, 8, 2)}", flush=True)


def number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


# --- In the worker -------------------------------------------------------------------------------


def prepare_op(
    engine: str, op: str, case: Case
) -> tuple[dict[str, np.ndarray], list[str], np.ndarray, np.ndarray]:
    """Make RUNS["numpy given forward"] and so on; on numba only if there is a kernel, and twice,
    also with channels last in memory, which most layers produce. Returns the arrays, the names of
    those that have a gradient, the result, and dy."""
    RUNS.clear()
    sv.use(engine)
    forward, backward = (getattr(sv.ops, f"{op}_{part}") for part in PARTS)
    arrays = {name: a.astype("float32") for name, a in case.arrays(seed=0).items()}
    with sv.using("numpy"):
        y = forward(*arrays.values(), **case.options)[0]
    losses = isinstance(y, tuple)  # if so, the first loss, the total, is differentiated
    dy = np.random.default_rng(1).standard_normal(np.shape(y), "float32")
    dy = np.eye(len(y), dtype="float32")[0] if losses else dy
    inputs = {"given": (list(arrays.values()), dy)}
    if engine == "numba":
        last = [a if name == "w" else channels_last(a) for name, a in arrays.items()]
        inputs["last"] = last, channels_last(dy)
    for name, (x, gradient) in inputs.items():
        run = partial(forward, *x, **case.options)
        cache = run()[1]
        runs = run, partial(backward, 1.0 if losses else gradient, cache)
        for part, run in zip(PARTS, runs, strict=True):
            if engine == "numpy" or find_kernel("numba", op, f"{op}_{part}"):
                RUNS[f"{engine} {name} {part}"] = run
                run()
    moving = [name for name in arrays if name not in case.constants]
    return arrays, moving, np.array(y), dy


if __name__ == "__main__":
    with problems_in_one_line():
        main()
