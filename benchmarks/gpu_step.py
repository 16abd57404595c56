"""Time training steps on the GPU, ours and PyTorch's in turns.

    python benchmarks/gpu_step.py [--models mlp conv ...] [--batch-sizes N ...] [--tf32 off|on|both]
        [--against torch|nothing] [--compile first|all|never] [--steps N] [--turns N] [--minutes N]
        [--epochs] [--data-dir FOLDER] [--json FILE]

Exit status 0: measured; 2: bad arguments, a row that failed, or the two sides do not compute the
same; 3: no GPU here, which one line says.

A step is loss, gradients and update (Adam; AdamW for `skip`), its noise drawn on the GPU:

    ours      eager     GPUStepper(..., graph=False): kernel by kernel
              graph     GPUStepper: one CUDA graph; both copy the images to where they belong
    PyTorch   eager     NCHW or channels_last, default or fused update: the best median counts
              compile   torch.compile(mode="reduce-overhead"), fused update
              graph     a whole step as torch.cuda.CUDAGraph, fused update, the better format

Two processes with the same weights. Before anything is timed, losses at the same images and noise
are compared, computed without TF32; beyond 1e-3, or 1e-2 for the gradients, relative to the largest
number, the program stops. Then all runs take turns of `--steps` steps, each between two CUDA events
after at least five uncounted steps; median (quartiles) are over the turns.

"of sgemm" is the arithmetic floor over the time of our graph: GFLOP counted from the layers' shapes
(flops.py) at the rate of a 4096 x 4096 product by cuBLAS in float32. "of copy" is the bandwidth
floor: the bytes of flops.training_bytes at the rate of a copy of 1 GiB. What stays in the GPU's
cache needs no bandwidth, so small models may pass 100 %; so may TF32 in "of sgemm".

Rows are printed, and written to FILE, as soon as they are measured. After `--minutes` no further
row begins. torch.compile takes long: by default it gets each model's first batch size alone, and
nothing after half of the minutes. `--epochs` runs 10 epochs of `conv` on MNIST as a user would,
before the tables.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gpu_pair import GpuPair, NotTheSame, Result
from gpu_report import GOAL_EPOCHS, epochs, fact_lines, goal_lines, heading, row
from jobs import MODELS, Job
from machine import has_torch
from measure import NO_TORCH, Problem, parser, positive, problems_in_one_line
from train_step import write

from scratchvae.backend import gpu_problem

BATCHES = {"skip": (32, 256)}  # otherwise 128 and 1024
NO_GPU = 3  # exit status
TF32 = {"off": (False,), "on": (True,), "both": (False, True)}


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    add = options.add_argument
    add("--models", nargs="+", choices=MODELS, metavar="MODEL", help="default: all six")
    sizes = "default: 128 and 1024; skip 32 and 256"
    add("--batch-sizes", nargs="+", type=positive, metavar="N", help=sizes)
    add("--tf32", choices=TF32, default="both", help="default: both, a table each")
    add("--against", choices=["torch", "nothing"], help="default: torch if it is installed")
    compiled = "batch sizes for torch.compile (default: first)"
    add("--compile", choices=["first", "all", "never"], default="first", help=compiled)
    add("--steps", type=positive, default=20, metavar="N", help="timed in a turn (default: 20)")
    add("--turns", type=positive, default=5, metavar="N", help="of each run (default: 5)")
    add("--minutes", type=positive, default=6, metavar="N", help="no new row after (default: 6)")
    add("--epochs", action="store_true", help=f"also 10 epochs of conv: {GOAL_EPOCHS}")
    add("--data-dir", type=Path, metavar="FOLDER", help="with MNIST, for --epochs")
    add("--json", type=Path, metavar="FILE", help="write every time measured, too")
    given = options.parse_args()
    if given.against is None:
        given.against = "torch" if has_torch() else "nothing"
    if given.against == "torch" and not has_torch():
        raise Problem(NO_TORCH)
    return given


def main() -> None:
    given, end = arguments(), time.monotonic()
    end += 60 * given.minutes
    if problem := gpu_problem():
        print(f"gpu_step.py: no GPU here ({problem}): not measured")
        sys.exit(NO_GPU)
    if given.json:
        write(given.json, {})  # an unwritable file is better known now
    if given.epochs:
        print(epochs(given.data_dir), flush=True)
    with GpuPair(given.against == "torch") as pair:
        print(fact_lines(pair.facts, pair.peaks), flush=True)
        results = []
        for tf32 in TF32[given.tf32]:
            print(heading(tf32, given.steps, given.turns, pair.theirs is not None), flush=True)
            for result in measured(pair, given, tf32, end):
                print(row(result, pair.peaks), flush=True)
                results.append(result)
                if given.json:
                    facts = {"machine": pair.facts, "peaks": pair.peaks}
                    write(given.json, facts | {"results": [r.as_json() for r in results]})
    print(goal_lines(results), end="")
    if pair.failures:
        raise Problem(f"rows that failed: {pair.failures}")


def measured(pair: GpuPair, given: argparse.Namespace, tf32: bool, end: float) -> Iterator[Result]:
    """The rows of a table, one by one, and a line for each that is left out."""
    for job, compiled in jobs(given):
        name = f"{job.model:6} {job.batch_size:5}"
        left = end - time.monotonic()
        if left < 0:
            print(f"{name} left out: {given.minutes} minutes are over", flush=True)
            continue
        try:
            compiled = compiled and left > 30 * given.minutes
            yield pair.measure(job, tf32, given.steps, given.turns, compiled)
        except NotTheSame:
            raise
        except Problem as problem:
            print(f"{name} failed: {problem}", flush=True)
            pair.restart()


def jobs(given: argparse.Namespace) -> Iterator[tuple[Job, bool]]:
    """And whether with torch.compile. All models at their first batch size, then at the next."""
    models = given.models or MODELS
    sizes = {m: given.batch_sizes or BATCHES.get(m, (128, 1024)) for m in models}
    for i in range(max(map(len, sizes.values()))):
        compiled = given.compile == "all" or (given.compile == "first" and i == 0)
        yield from ((Job(model, sizes[model][i]), compiled) for model in models)


if __name__ == "__main__":
    with problems_in_one_line():
        main()
