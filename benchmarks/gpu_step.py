"""Time training steps on the GPU, ours and PyTorch's in turns.

    python benchmarks/gpu_step.py [--models mlp conv ...] [--batch-sizes N ...] [--tf32 off|on|both]
        [--against torch|nothing] [--compile first|all|never] [--steps N] [--turns N] [--minutes N]
        [--json FILE]

Exit status 0: measured; 2: bad arguments, a row that failed, or the two sides do not compute the
same; 3: no GPU here, which one line says.

A step is loss, gradients and update (Adam; AdamW for `skip`), its noise drawn on the GPU:

    ours      eager     Steps(..., graph=False): kernel by kernel
              graph     Steps: one CUDA graph; both copy the images into the graph's own memory
    PyTorch   eager     NCHW or channels_last, default or fused update: the best median counts
              compile   torch.compile(mode="reduce-overhead"), fused update
              graph     a whole step as torch.cuda.CUDAGraph, fused update, the better format

The two processes, and how they are compared before anything is timed, are those of train_step.py.
All runs take turns of `--steps` steps, each between two CUDA events after at least five uncounted
steps; median (quartiles) are over the turns.

"of sgemm" is the arithmetic floor over the time of our graph: GFLOP counted from the layers' shapes
(flops.py) at the rate of a 4096 x 4096 product by cuBLAS in float32. "of copy" is the bandwidth
floor: the bytes of flops.training_bytes at the rate of a copy of 1 GiB. What stays in the GPU's
cache needs no bandwidth, so small models may pass 100 %; so may TF32 in "of sgemm".

Rows are printed, and written to FILE, as soon as they are measured. After `--minutes` no further
row begins. torch.compile takes long: by default it gets each model's first batch size alone, and
nothing after half of the minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from jobs import MODELS, Job
from measure import (
    Problem,
    has_torch,
    machine_line,
    parser,
    positive,
    problems_in_one_line,
    write,
)
from pair import NotTheSame, Pair, Result

from scratchvae.backend import gpu_problem

BATCHES = {"skip": (32, 256)}  # otherwise 128 and 1024
NO_GPU = 3  # exit status
TF32 = {"off": (False,), "on": (True,), "both": (False, True)}
GOALS = {"eager": 0.5, "graph": 1.0}  # our graph over PyTorch's
GOAL_MODELS = ("mlp", "conv", "tiny", "celeba")  # at batch 128


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
    add("--json", type=Path, metavar="FILE", help="write every time measured, too")
    given = options.parse_args()
    if given.against is None:
        given.against = "torch" if has_torch() else "nothing"
    return given


def main() -> None:
    given, end = arguments(), time.monotonic()
    end += 60 * given.minutes
    if problem := gpu_problem():
        print(f"gpu_step.py: no GPU here ({problem}): not measured")
        sys.exit(NO_GPU)
    if given.json:
        write(given.json, {})  # report an unwritable file before measuring
    with Pair(given.against == "torch", gpu=True) as pair:
        rates = {name: f"{rate:.0f}" for name, rate in pair.peaks.items()}
        print(machine_line(pair.facts, **rates), "(GFLOP/s; copy GB/s)", flush=True)
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


def measured(pair: Pair, given: argparse.Namespace, tf32: bool, end: float) -> Iterator[Result]:
    """The rows of a table, one by one, and a line for each that is left out."""
    for job, compiled in jobs(given, tf32):
        name = f"{job.model:6} {job.batch_size:5}"
        left = end - time.monotonic()
        if left < 0:
            print(f"{name} left out: {given.minutes} minutes are over", flush=True)
            continue
        try:
            compiled = compiled and left > 30 * given.minutes
            yield pair.measure(job, given.steps * given.turns, given.steps, compiled)
        except NotTheSame:
            raise
        except Problem as problem:
            print(f"{name} failed: {problem}", flush=True)
            pair.restart()


def jobs(given: argparse.Namespace, tf32: bool) -> Iterator[tuple[Job, bool]]:
    """And whether with torch.compile. All models at their first batch size, then at the next."""
    models = given.models or MODELS
    sizes = {m: given.batch_sizes or BATCHES.get(m, (128, 1024)) for m in models}
    for i in range(max(map(len, sizes.values()))):
        compiled = given.compile == "all" or (given.compile == "first" and i == 0)
        yield from ((Job(m, sizes[m][i], gpu=True, tf32=tf32), compiled) for m in models)


# --- What is printed -----------------------------------------------------------------------------


def heading(tf32: bool, steps: int, turns: int, with_torch: bool) -> str:
    setting = "off, on both sides"
    if tf32:
        setting = "on (ours: linear layers alone; PyTorch: these and all convolutions)"
    text = f"\nTF32 {setting}; ms a step: median (quartiles) of {turns} turns of {steps} steps\n"
    text += f"{'model':6} {'batch':>5} {'ours eager':>21} {'ours graph':>21}"
    if with_torch:
        text += f" {'PyTorch eager':>21} {'which':19} {'compile':>21} {'graph':>21} {'which':13}"
        text += f" {'/eager':>6} {'/graph':>6}"
    return f"{text} {'GFLOP/s':>8} {'of sgemm':>8} {'GB/s':>7} {'of copy':>7}"


def row(result: Result, peaks: dict[str, float]) -> str:
    text = f"{result.job.model:6} {result.job.batch_size:5}"
    text += f" {time_of(result, 'ours eager')} {time_of(result, 'ours graph')}"
    if result.errors or result.failed:
        eager, compiled, graph = map(result.best, ("eager", "compile", "graph"))
        text += f" {time_of(result, eager)} {(eager or '')[6:]:19} {time_of(result, compiled)}"
        text += f" {time_of(result, graph)} {(graph or '')[6:]:13}"
        for run in (eager, graph):
            text += f" {format(result.ratio(run), '.2f') if run else '-':>6}"
    gbytes = 1e3 * result.gbytes / result.ours.median
    text += f" {result.gflops:8.0f} {result.gflops / peaks['sgemm']:8.0%}"
    text += f" {gbytes:7.0f} {gbytes / peaks['copy']:7.0%}"
    return text + "".join(f"\n  {name}: {why}" for name, why in result.failed.items())


def time_of(result: Result, run: str | None) -> str:
    if run is None:
        return f"{'-':>21}"
    low, median, high = result.spread(run)
    return f"{f'{median:.3f} ({low:.3f}-{high:.3f})':>21}"


def goal_lines(results: list[Result]) -> str:
    """The goals at batch 128, model by model; and how far the two sides were from each other."""
    lines = []
    for kind, goal in GOALS.items():
        for tf32 in (False, True):
            ratios = {
                r.job.model: r.ratio(run)
                for r in results
                if (r.job.model in GOAL_MODELS and r.job.batch_size == 128 and r.job.tf32 == tf32)
                and (run := r.best(kind))
            }
            if ratios:
                verdict = "met" if max(ratios.values()) <= goal else "missed"
                found = ", ".join(f"{model} {ratio:.2f}" for model, ratio in ratios.items())
                setting = f"TF32 {'on' if tf32 else 'off'}"
                ours = f"our graph / PyTorch {kind} <= {goal}"
                lines.append(f"goal: {ours}, {setting}: {verdict} ({found})")
    errors = [error for result in results for error in result.errors.values()]
    if errors:
        loss, gradient = (max(column) for column in zip(*errors, strict=True))
        same = f"losses differ by {loss:.0e}, gradients by {gradient:.0e}, at most"
        lines.append(f"the same computation: {same}")
    return "".join(f"\n{line}" for line in lines) + "\n" * bool(lines)


if __name__ == "__main__":
    with problems_in_one_line():
        main()
