"""Measure the memory of a training run, ours and PyTorch's.

    python benchmarks/memory.py [--model conv] [--batch-size N] [--steps 50]

Each run is a fresh process with nothing else in it. Resident memory in MB (1024^2 bytes):

    imports     the peak when everything is imported, before there is a model
    peak        the peak when the last step is done (getrusage, ru_maxrss)
    run         peak - imports
    after del   what the process holds when model, optimizer and batch are deleted (Linux)

Before ours is measured one such process, not counted, fills Numba's cache: compiling takes memory,
too, but only once. PyTorch runs in both memory formats with its default Adam; ratios are against
the one with the smaller peak.
"""

from __future__ import annotations

import gc
import importlib
import json
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jobs import BATCH, MODELS, Job, Subject
from machine import has_torch, machine_facts, machine_lines
from measure import (
    RUNS,
    parser,
    positive,
    problems_in_one_line,
    run_python,
)

SHAPES = {"celeba": ((3, 64, 64), (128,)), "skip": ((3, 64, 64), (256, 1, 1))}
SMALL: tuple[tuple[int, ...], tuple[int, ...]] = ((1, 28, 28), (20,))
CODE = "import memory; memory.child"


def main() -> None:
    options = parser(__doc__)
    add = options.add_argument
    add("--model", default="conv", choices=MODELS, help="default: conv")
    add("--batch-size", type=positive, metavar="N", help="default: 128; skip 32")
    add("--steps", type=positive, metavar="N", default=50, help="of training (default: 50)")
    given = options.parse_args()
    batch = given.batch_size or BATCH.get(given.model, 128)
    torch = {"torch": metadata.version("torch")} if has_torch() else {}
    print(machine_lines(machine_facts() | torch))
    print(f"\n{given.model}, batch {batch}, {given.steps} steps")
    print(f"{'MB':21} {'imports':>8} {'peak':>8} {'run':>8} {'after del':>10}", flush=True)
    measured("ours", given.model, batch, 1)
    names = ["NCHW", "channels_last"] if has_torch() else []
    if given.model in ("mlp", "ae"):  # no convolutions, no format
        names = names[:1]
    ours = measured("ours", given.model, batch, given.steps)
    show("ours", ours)
    theirs = []
    for name in names:
        theirs.append(measured(name, given.model, batch, given.steps))
        show(f"PyTorch {name}", theirs[-1])
    if theirs:
        least = min(theirs, key=lambda row: row[1])
        peak, run = ours[1] / least[1], (ours[1] - ours[0]) / (least[1] - least[0])
        print(f"{'ours / PyTorch':21} {'':8} {peak:8.2f} {run:8.2f}")


def measured(side: str, model: str, batch: int, steps: int) -> list[float]:
    """imports, peak and after del of a fresh process."""
    found: list[float] = json.loads(run_python("-c", f"{CODE}{(side, model, batch, steps)}"))
    return found


def show(name: str, row: list[float]) -> None:
    imports, peak, after = row
    rest = f"{after:10.0f}" if after else f"{'-':>10}"
    print(f"{name:21} {imports:8.0f} {peak:8.0f} {peak - imports:8.0f} {rest}", flush=True)


# --- In the fresh process ------------------------------------------------------------------------


def child(side: str, model: str, batch: int, steps: int) -> None:
    """Train, and print three numbers."""
    module = importlib.import_module("ours" if side == "ours" else "theirs")
    if side == "ours":
        importlib.import_module("numba")  # otherwise imported by the first kernel
    imports, job = peak(), Job(model, batch)
    arguments = () if side == "ours" else (fresh(module, job), [side])
    module.prepare(job, *arguments)
    for _ in range(steps):
        RUNS[side]()
    highest = peak()
    module.forget()
    gc.collect()
    print(json.dumps([imports, highest, now()]))


def fresh(theirs: Any, job: Job) -> Subject:
    """Weights as PyTorch draws them, and a batch."""
    rng, (image, code) = np.random.default_rng(0), SHAPES.get(job.model, SMALL)
    state = theirs.build(job.model, None).state_dict()
    x = rng.random((job.batch_size, *image), "float32")
    eps = rng.standard_normal((job.batch_size, *code), "float32")
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    return Subject(weights, (0, 1), x, eps, np.zeros(3), 0)


def peak() -> float:
    """MB. A child's count begins with what its parent held, here no more than its own imports."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2


def now() -> float:
    """MB held at this moment; 0 where nobody says."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 1024**2


if __name__ == "__main__":
    with problems_in_one_line():
        main()
