"""Time training steps of the six models, ours and PyTorch's in turns.

    python benchmarks/train_step.py [--models mlp conv ...] [--against torch|nothing]
        [--what train|forward|sample|encode] [--batch-size N] [--steps N] [--image-size N]
        [--threads N] [--sweep batch|image] [--json FILE]

Ours and PyTorch's are two processes with the same weights, images and noise. Before anything is
timed, the first losses and gradients of both (images for sample, codes for encode) are compared;
beyond 1e-3, for gradients 1e-2, relative to the largest number, the program stops. Then they run in
turns of five steps until each has `--steps`; see measure.py. What a step is:

    train       loss, backward, and the update: Adam; AdamW for `skip`     sv.train.train_step
    forward     the loss alone, nothing kept for backward                  model.loss(keep=False)
    sample      images from codes                                          model.generate
    encode      codes from images                                          model.embed

PyTorch runs eagerly in both memory formats, of which the better median counts, and with
torch.optim's default update; the column "fused" has the better one with `fused=True`. (low-high)
are quartiles; ratio is ours / PyTorch. GFLOP are counted from the layers' shapes (flops.py), and
"of peak" is ours against the best of five float32 products of 2048 x 2048 matrices by np.matmul on
all its threads, measured in our process before the models.

`--sweep` prints how the cost of a step grows with the batch (of `conv`, or --models) or with the
size of the images (of `conv`, `celeba`, `skip`); ours alone, unless `--against torch` is given.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jobs import BATCH, MODELS, Job
from measure import (
    Problem,
    has_torch,
    machine_line,
    parser,
    positive,
    problems_in_one_line,
    set_threads,
    write,
)
from pair import Pair, Result

WHAT = ("train", "forward", "sample", "encode")
BATCHES = [2**i for i in range(11)]
SIZES = {"conv": [28, 56, 112, 224, 256], "celeba": [64, 128, 256], "skip": [64, 128, 256]}


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    add = options.add_argument
    add("--models", nargs="+", choices=MODELS, metavar="MODEL", help="default: all six")
    add("--against", choices=["torch", "nothing"], help="default: torch if it is installed")
    add("--what", choices=WHAT, default="train", help="what a step is (default: train)")
    add("--batch-size", type=positive, metavar="N", help="default: 128; skip 32")
    add("--steps", type=positive, default=30, metavar="N", help="timed steps (default: 30)")
    add("--image-size", type=positive, metavar="N", help="default: the model's own")
    add("--threads", type=positive, metavar="N", help="default: what each library chooses")
    add("--sweep", choices=["batch", "image"], help="how the cost grows; ours alone by default")
    add("--json", type=Path, metavar="FILE", help="write every time measured, too")
    given = options.parse_args()
    if given.against is None:
        given.against = "torch" if has_torch() and not given.sweep else "nothing"
    return given


def main() -> None:
    given = arguments()
    tables = plan(given)
    set_threads(given.threads)
    if given.json:
        write(given.json, {})  # report an unwritable file before measuring
    with Pair(given.against == "torch") as pair:
        print(machine_line(pair.facts, **{"sgemm peak": f"{pair.peaks['sgemm']:.0f} GFLOP/s"}))
        results = [result for jobs in tables for result in table(pair, given, jobs)]
        facts = {"machine": pair.facts, "peaks": pair.peaks, "arguments": vars(given)}
    if given.json:
        write(given.json, facts | {"results": [result.as_json() for result in results]})
    if errors := [error for result in results for error in result.errors.values()]:
        largest = max(first for first, *_ in errors)
        print(f"\nthe same computation: first results differ by {largest:.0e} at most")


def plan(given: argparse.Namespace) -> list[list[Job]]:
    """A list of jobs for each table; Problem if the arguments contradict each other."""

    def job(model: str, batch: int | None, size: int | None) -> Job:
        return Job(model, batch or BATCH.get(model, 128), given.what, size)

    if not given.sweep:
        models = given.models or MODELS
        return [[job(model, given.batch_size, given.image_size) for model in models]]
    if given.sweep == "batch":
        if given.batch_size:
            raise Problem("--sweep batch takes no --batch-size")
        models = given.models or ["conv"]
        return [[job(model, n, given.image_size) for n in BATCHES] for model in models]
    models = given.models or list(SIZES)
    if given.image_size or (unknown := [model for model in models if model not in SIZES]):
        what = "no --image-size" if given.image_size else f"no --models {' '.join(unknown)}"
        raise Problem(f"--sweep image takes {what}; it knows sizes for {', '.join(SIZES)}")
    return [[job(model, given.batch_size, size) for size in SIZES[model]] for model in models]


def table(pair: Pair, given: argparse.Namespace, jobs: list[Job]) -> list[Result]:
    """A row for every job, printed as soon as it is measured."""
    print(f"\n{given.what}, ms a step: median (quartiles) of {given.steps}")
    heading = f"{'model':6} {'batch':>5} {'image':>5} {'ours':>22}"
    if pair.theirs:
        heading += f" {'PyTorch':>22} {'format':13} {'ratio':>5}"
        heading += f" {'fused':>22} {'ratio':>5}" if given.what == "train" else ""
    print(f"{heading} {'an image':>9} {'GFLOP':>7} {'GFLOP/s':>7} {'of peak':>7}", flush=True)
    results = []
    for job in jobs:
        result = pair.measure(job, given.steps)
        print(row(result, pair.peaks["sgemm"]), flush=True)
        results.append(result)
    return results


def row(result: Result, peak: float) -> str:
    job = result.job
    text = f"{job.model:6} {job.batch_size:5} {job.image_size or 'own':>5} {result.ours!s:>22}"
    if plain := result.best("eager", fused=False):
        memory_format = plain.removeprefix("eager ")
        text += f" {result.spread(plain)!s:>22} {memory_format:13} {result.ratio(plain):5.2f}"
    if fused := result.best("eager", fused=True):
        text += f" {result.spread(fused)!s:>22} {result.ratio(fused):5.2f}"
    image, share = result.ours.median / job.batch_size, f"{result.gflops / peak:.0%}"
    return f"{text} {image:9.4f} {result.gflop:7.3f} {result.gflops:7.1f} {share:>7}"


if __name__ == "__main__":
    with problems_in_one_line():
        main()
