"""Time training steps of the six models, ours and PyTorch's, in turns, on the CPU or the GPU.

    python benchmarks/train_step.py [--gpu] [--help]

A step is loss, gradients and update with Adam (AdamW for `skip`). Ours and PyTorch's run in two
processes with the same weights, images and noise. First their losses and gradients are compared,
without TF32; the program stops if they differ by more than 1e-3 (gradients: 1e-2) of the largest
number. Then they run in turns until each has done `--steps` steps; see measure.py. Columns:

    ours        train_step on the engine numba; GPU: GPUStepper, one CUDA graph
    eager       PyTorch, the better of NCHW and channels_last; on the GPU also of the fused update
    fused       CPU: the same with torch.optim's fused update
    by kernel   GPU: ours without a graph, GPUStepper(..., graph=False)
    graph       GPU: PyTorch's whole step as one CUDA graph, fused update
    compile     GPU, with --compile: torch.compile(mode="reduce-overhead"), fused update

Times are milliseconds per step, median (quartiles); on the GPU they are measured with CUDA events
over turns of 20 steps, with noise drawn on the GPU. The ratio after a time is ours / this time:
below 1, ours is faster. GFLOP/s is of ours, counted from the layers' shapes (flops.py); "of sgemm"
compares it with float32 products of large matrices by np.matmul or cuBLAS, measured first. "of
copy" (GPU) is the time that the bytes of flops.training_bytes need at the rate of a 1 GiB copy,
divided by the time of our graph. It may exceed 100 % for small models, whose data fits the cache.

Rows are printed, and written to FILE, as soon as they are measured; after `--minutes` no new row
begins. Exit status 2: bad arguments, a failed row, or the two sides' results differ; 3: no GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from jobs import BATCH, MODELS, Job
from measure import Problem, has_torch, machine_line, parser, positive, problems_in_one_line, write
from pair import NotTheSame, Pair, Result

from scratchvae.backend import gpu_problem

TURN = {False: 5, True: 20}  # steps, on the CPU and on the GPU
NO_GPU = 3  # exit status
TF32 = {"off": (False,), "on": (True,), "both": (False, True)}


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    add = options.add_argument
    sizes: dict[str, Any] = {"nargs": "+", "type": positive, "metavar": "N"}
    add("--models", nargs="+", choices=MODELS, metavar="MODEL", help="default: all six")
    add("--against", choices=["torch", "nothing"], help="default: torch if it is installed")
    add("--batch-sizes", **sizes, help="default: 128; skip 32")
    add("--image-sizes", **sizes, help="default: the model's own")
    add("--steps", type=positive, metavar="N", help="timed steps (default: 30; GPU 100)")
    add("--json", type=Path, metavar="FILE", help="write every time measured, too")
    add("--gpu", action="store_true", help="on the GPU")
    add("--tf32", choices=TF32, default="both", help="GPU; default: both, a table each")
    add("--compile", action="store_true", help="GPU: also torch.compile, which takes long")
    add("--minutes", type=positive, metavar="N", help="no new row after (default: no limit)")
    given = options.parse_args()
    given.against = given.against or ("torch" if has_torch() else "nothing")
    given.steps = given.steps or (100 if given.gpu else 30)
    return given


def main() -> None:
    given = arguments()
    end = time.monotonic() + 60 * given.minutes if given.minutes else float("inf")
    if given.gpu and (problem := gpu_problem()):
        print(f"train_step.py: no GPU here ({problem}): not measured")
        sys.exit(NO_GPU)
    if given.json:
        write(given.json, {})  # report an unwritable file before measuring
    results: list[Result] = []
    with closing(Pair(given.against == "torch", given.gpu)) as pair:
        rates = {name: f"{rate:.0f} G/s" for name, rate in pair.peaks.items()}
        print(machine_line(pair.facts | rates), flush=True)
        for tf32 in TF32[given.tf32] if given.gpu else (False,):
            print(heading(given, tf32), flush=True)
            for job in jobs(given, tf32):
                if result := measured(pair, job, given, end):
                    print(row(result, pair.peaks), flush=True)
                    results.append(result)
                if given.json:
                    facts = {"machine": pair.facts, "peaks": pair.peaks, "arguments": vars(given)}
                    rows = [result._asdict() | {"job": result.job._asdict()} for result in results]
                    write(given.json, facts | {"results": rows})
    if errors := [error for result in results for error in result.errors.values()]:
        loss, gradient = (max(column) for column in zip(*errors, strict=True))
        same = f"losses differ by {loss:.0e}, gradients by {gradient:.0e}, at most"
        print(f"\nthe same computation: {same}")
    if pair.failures:
        raise Problem(f"rows that failed: {pair.failures}")


def jobs(given: argparse.Namespace, tf32: bool) -> list[Job]:
    """The rows of a table."""
    return [
        Job(model, batch, size, given.gpu, tf32)
        for size in given.image_sizes or [None]
        for model in given.models or MODELS
        for batch in given.batch_sizes or [BATCH.get(model, 128)]
    ]


def measured(pair: Pair, job: Job, given: argparse.Namespace, end: float) -> Result | None:
    """Measure a row, or print why there is none."""
    if time.monotonic() > end:
        print(f"{label(job)} left out: {given.minutes} minutes are over", flush=True)
        return None
    try:
        return pair.measure(job, given.steps, TURN[job.gpu], given.compile)
    except NotTheSame:
        raise
    except Problem as problem:
        print(f"{label(job)} failed: {problem}", flush=True)
        pair.restart()
        return None


# --- The table -----------------------------------------------------------------------------------


def label(job: Job) -> str:
    return f"{job.model:6} {job.batch_size:5} {job.image_size or 'own':>5}"


def heading(given: argparse.Namespace, tf32: bool) -> str:
    setting = "off, on both sides"
    if tf32:
        setting = "on (ours: linear layers alone; PyTorch: these and all convolutions)"
    title = f"\nms a step: median (quartiles) of {given.steps} steps"
    title += f"; TF32 {setting}" if given.gpu else ""
    text = f"{title}\n{'model':6} {'batch':>5} {'image':>5} {'ours':>23}"
    columns = []
    if given.gpu:
        columns.append("by kernel")
    if given.against == "torch":
        columns += ["eager", "graph", "compile"] if given.gpu else ["eager", "fused"]
    text += "".join(f" {column:>23} {'ratio':>5}" for column in columns)
    return f"{text} {'GFLOP/s':>8} {'of sgemm':>8}" + f" {'of copy':>8}" * given.gpu


def row(result: Result, peaks: dict[str, float]) -> str:
    text, ours = f"{label(result.job)} {result.ours!s:>23}", result.ours.median
    runs: list[str | None] = []
    if result.job.gpu:
        runs.append("ours eager")
    if result.errors or result.failed:
        kinds = ("eager", "graph", "compile")
        plain, fused = result.best("eager", fused=False), result.best("eager", fused=True)
        runs += map(result.best, kinds) if result.job.gpu else [plain, fused]
    for times in (run and result.spread(run) for run in runs):
        text += f" {times!s:>23} {ours / times.median:5.2f}" if times else f"{'-':>29}"
    gflops = 1e3 * result.gflop / ours
    text += f" {gflops:8.1f} {gflops / peaks['sgemm']:8.0%}"
    if result.job.gpu:
        text += f" {1e3 * result.gbytes / ours / peaks['copy']:8.0%}"
    return text + "".join(f"\n  {name}: {why}" for name, why in result.failed.items())


if __name__ == "__main__":
    with problems_in_one_line():
        main()
