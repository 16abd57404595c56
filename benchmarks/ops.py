"""Time every op: reference body, Numba kernel and PyTorch in turns, forward and backward apart.

    python benchmarks/ops.py [OP ...] [--steps 15]

Medians of `--steps` calls, in milliseconds. Sizes are those of the models at batch 128, `skip` at
32; an op that no model has gets its neighbour's. "-": no kernel, the reference body runs instead.
The reference, the kernels and PyTorch, if it is installed, are processes of their own (see
measure.py): their threads would wait for each other. PyTorch calls torch.nn.functional; its
backward is autograd's alone, on a graph that is kept, towards every input that has a gradient. Of
the two memory formats the better one counts, for the kernels and for PyTorch, and of PyTorch's
updates by Adam the fused one if it is faster.
The last columns are numba / reference and numba / torch (where there is no kernel, reference /
torch). Run it on a quiet machine.
"""

from __future__ import annotations

from typing import Any

from machine import has_torch, machine_lines
from measure import (
    Problem,
    Worker,
    alternate,
    best,
    parser,
    positive,
    problems_in_one_line,
    spread,
)
from pair import SAME

ADAM = 1_691_369  # parameters of `conv`
Shapes = dict[str, tuple[int, ...]]


def kernel(x: tuple[int, ...], w: tuple[int, ...], outputs: int) -> Shapes:
    return {"x": x, "w": w, "b": (outputs,)}


def norm(x: tuple[int, ...]) -> Shapes:
    return {"x": x} | dict.fromkeys(("running_mean", "running_var", "w", "b"), (x[1],))


CODES: Shapes = {"mu": (128, 20), "logvar": (128, 20)}
DOWN, UP = {"stride": 2, "padding": 1}, {"stride": 2, "padding": 1, "output_padding": 1}
RELU = {"negative_slope": 0.0}

# case, the op first: its arrays in the op's order, its options
CASES: dict[str, tuple[Shapes, dict[str, Any]]] = {
    "conv2d conv 1->32": (kernel((128, 1, 28, 28), (32, 1, 4, 4), 32), DOWN),
    "conv2d conv 32->64": (kernel((128, 32, 14, 14), (64, 32, 4, 4), 64), DOWN),
    "conv2d tiny 16->32": (kernel((128, 16, 14, 14), (32, 16, 3, 3), 32), DOWN),
    "conv2d celeba 3->32": (kernel((128, 3, 64, 64), (32, 3, 3, 3), 32), DOWN),
    "conv2d celeba 256->512": (kernel((128, 256, 4, 4), (512, 256, 3, 3), 512), DOWN),
    "conv2d skip 16->16": (kernel((32, 16, 64, 64), (16, 16, 3, 3), 16), {"padding": 1}),
    "conv2d skip 256->256": (kernel((32, 256, 4, 4), (256, 256, 3, 3), 256), {"padding": 1}),
    "conv_transpose2d conv 64->32": (kernel((128, 64, 7, 7), (64, 32, 4, 4), 32), DOWN),
    "conv_transpose2d conv 32->1": (kernel((128, 32, 14, 14), (32, 1, 4, 4), 1), DOWN),
    "conv_transpose2d celeba 64->32": (kernel((128, 64, 16, 16), (64, 32, 3, 3), 32), UP),
    "linear mlp 784->400": (kernel((128, 784), (400, 784), 400), {}),
    "linear conv 3136->256": (kernel((128, 3136), (256, 3136), 256), {}),
    "conv2d_leaky_relu conv 32->64": (
        kernel((128, 32, 14, 14), (64, 32, 4, 4), 64),
        DOWN | RELU,
    ),
    "conv_transpose2d_leaky_relu conv 64->32": (
        kernel((128, 64, 7, 7), (64, 32, 4, 4), 32),
        DOWN | RELU,
    ),
    "linear_leaky_relu mlp 784->400": (kernel((128, 784), (400, 784), 400), RELU),
    "batch_norm celeba": (norm((128, 32, 32, 32)), {"training": True}),
    "batch_norm_leaky_relu celeba": (norm((128, 32, 32, 32)), {"training": True}),
    "max_pool2d skip 2x2": ({"x": (32, 16, 64, 64)}, {"kernel_size": 2}),
    "avg_pool2d 2x2": ({"x": (32, 16, 64, 64)}, {"kernel_size": 2}),
    "adaptive_avg_pool2d tiny 7->4": ({"x": (128, 32, 7, 7)}, {"output_size": 4}),
    "upsample_nearest tiny x2": ({"x": (128, 1, 14, 14)}, {"scale_factor": 2}),
    "relu conv": ({"x": (128, 32, 14, 14)}, {}),
    "leaky_relu celeba": ({"x": (128, 32, 32, 32)}, {"negative_slope": 0.01}),
    "sigmoid ae": ({"x": (128, 784)}, {}),
    "tanh celeba": ({"x": (128, 3, 64, 64)}, {}),
    "mean_logvar skip": ({"x": (32, 256, 1, 1)}, {}),
    "reparameterize conv": (CODES | {"eps": (128, 20)}, {}),
    "bce conv": ({"logits": (128, 1, 28, 28), "target": (128, 1, 28, 28)}, {}),
    "mse celeba": ({"prediction": (128, 3, 64, 64), "target": (128, 3, 64, 64)}, {}),
    "kl conv": (CODES, {}),
    "kl_free_bits conv": (CODES, {"free_bits": 0.8}),
    "elbo": ({"reconstruction": (128,), "kl": (128,)}, {"beta": 1.0}),
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("ops", nargs="*", metavar="OP", help="only these (default: all)")
    options.add_argument(
        "--steps", type=positive, default=15, metavar="N", help="timed calls of each (default: 15)"
    )
    given = options.parse_args()
    wanted = given.ops
    known = {name.split()[0] for name in CASES} | {"adam"}
    if unknown := sorted(set(wanted) - known):
        options.error(f"no case for {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    ours, plain = Worker("ours"), Worker("ours")  # BLAS's threads would wait beside the kernels'
    theirs = Worker("theirs") if has_torch() else None
    facts: dict[str, str] = (theirs.call("machine_facts") if theirs else {}) | ours.call(
        "machine_facts"
    )
    print(machine_lines(facts))
    columns = f"{'numba':>9} {'torch':>9} {'/ reference':>12} {'/ torch':>8}"
    print(f"{'case':31} {'pass':8} {'reference':>9} {columns}", flush=True)
    for case in [*CASES, "adam"]:
        if not wanted or case.split()[0] in wanted:
            prepare(case, ours, plain, theirs)
            measure(case, ours, plain, theirs, given.steps)


def prepare(case: str, ours: Worker, plain: Worker, theirs: Worker | None) -> None:
    """Problem if PyTorch's function is another."""
    if case == "adam":
        for worker in (ours, plain, theirs) if theirs else (ours, plain):
            worker.call("prepare_adam", ADAM)
        return
    op, (shapes, options) = case.split()[0], CASES[case]
    plain.call("prepare_op", op, shapes, options)
    arrays, y, dy = ours.call("prepare_op", op, shapes, options)
    if theirs:
        error: float = theirs.call("prepare_op", op, arrays, options, y, dy)
        if not error <= SAME:
            raise Problem(f"{case}: PyTorch and ours differ by {error:.1e}, more than {SAME:g}")


def measure(case: str, ours: Worker, plain: Worker, theirs: Worker | None, steps: int) -> None:
    """A line for each pass."""
    our_runs: list[str] = ours.call("prepared")
    their_runs: list[str] = theirs.call("prepared") if theirs else []
    for part in dict.fromkeys(name.split()[1] for name in our_runs):
        mine = [name for name in our_runs if name.endswith(part)]
        others = [name for name in their_runs if name.endswith(part)]
        sides = [(plain if name.startswith("reference") else ours, name) for name in mine]
        sides += [(theirs, name) for name in others] if theirs else []
        found = alternate(sides, steps)
        reference = spread(found[f"reference {part}"]).median
        kernels = [name for name in mine if name.startswith("numba")]
        numba = spread(found[best(found, kernels)]).median if kernels else None
        torch = spread(found[best(found, others)]).median if others else None
        cells = f"{reference:9.3f} {number(numba, 9, 3)} {number(torch, 9, 3)}"
        gain = numba / reference if numba else None
        ratio = (numba or reference) / torch if torch else None
        print(f"{case:31} {part:8} {cells} {number(gain, 12, 2)} {number(ratio, 8, 2)}", flush=True)


def number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


if __name__ == "__main__":
    with problems_in_one_line():
        main()
