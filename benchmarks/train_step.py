"""Time training steps of the six models, ours and PyTorch's in turns.

    python benchmarks/train_step.py [--models mlp conv ...] [--against torch|nothing]
        [--what train|forward|sample|encode|evaluate] [--batch-size N] [--steps N]
        [--image-size N] [--threads N] [--sweep batch|image|channels] [--json FILE]

Ours and PyTorch's are two processes with the same weights, images and noise. Before anything is
timed, the first losses of both (images for sample, codes for encode) are compared; beyond 1e-3 the
program stops. Then they run in turns of five steps until each has `--steps`. The first step of
every turn is not counted, its caches are cold; measure.py says the rest. What a step is:

    train       loss, backward, and the update: Adam; AdamW for `skip`     sv.train.train_step
    forward     the loss alone, nothing kept for backward                  model.loss(keep=False)
    sample      images from codes                                          model.generate
    encode      codes from images                                          model.embed
    evaluate    a pass over 10,000 images, 2,000 of 64 x 64                sv.train.evaluate_sampled

PyTorch runs eagerly in both memory formats, of which the better median counts, and with
torch.optim's default update; the column "fused" has the better one with `fused=True`. Its KL term
is the closed formula. (low-high) are quartiles; ratio is ours / PyTorch. GFLOP are counted from the
layers' shapes (flops.py), and "of peak" is ours against the best of five float32 products of
2048 x 2048 matrices by np.matmul on all its threads, measured in our process before the models.

`--sweep` shows how the cost of a step grows: sweep.py. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jobs import BATCH, MODELS, Job
from machine import has_torch, machine_lines
from measure import (
    Problem,
    parser,
    positive,
    problems_in_one_line,
    set_threads,
)
from pair import Pair, Result
from sweep import SWEEPS, plan, sweep

WHAT = ("train", "forward", "sample", "encode", "evaluate")
STEPS = 30


def arguments() -> argparse.Namespace:
    options = parser(__doc__)
    add = options.add_argument
    add("--models", nargs="+", choices=MODELS, metavar="MODEL", help="default: all six")
    add("--against", choices=["torch", "nothing"], help="default: torch if it is installed")
    add("--what", choices=WHAT, default="train", help="what a step is (default: train)")
    add("--batch-size", type=positive, metavar="N", help="default: 128; skip 32")
    add("--steps", type=positive, default=STEPS, metavar="N", help="timed steps (default: 30)")
    add("--image-size", type=positive, metavar="N", help="default: the model's own")
    add("--threads", type=positive, metavar="N", help="default: what each library chooses")
    add("--sweep", choices=SWEEPS, help="how the cost grows; ours alone by default")
    add("--json", type=Path, metavar="FILE", help="write every time measured, too")
    given = options.parse_args()
    if given.against is None:
        given.against = "torch" if has_torch() and not given.sweep else "nothing"
    return given


def main() -> None:
    given = arguments()
    sweeps = plan(given) if given.sweep else {}
    set_threads(given.threads)
    if given.json:
        write(given.json, {})  # an unwritable file is better known now
    with Pair(given.against == "torch") as pair:
        print(machine_lines(pair.machine))
        print(f"sgemm peak {pair.peak:.0f} GFLOP/s\n", flush=True)
        results = sweep(pair, given, sweeps) if sweeps else table(pair, given)
        facts = {"machine": pair.machine, "sgemm_peak_gflops": pair.peak}
    if given.json:
        options = {k: str(v) if k == "json" else v for k, v in vars(given).items()}
        rows = [result.as_json() for result in results]
        write(given.json, facts | {"arguments": options, "results": rows})


def table(pair: Pair, given: argparse.Namespace) -> list[Result]:
    """A row for every model, printed as soon as it is measured."""
    print(f"{given.what}, ms a step: median (quartiles) of {given.steps}")
    heading = f"{'model':6} {'batch':>5} {'ours':>22}"
    if pair.theirs:
        heading += f" {'PyTorch':>22} {'format':13} {'ratio':>5}"
        heading += f" {'fused':>22} {'ratio':>5}" if given.what == "train" else ""
    print(f"{heading} {'GFLOP':>7} {'GFLOP/s':>7} {'of peak':>7}", flush=True)
    results = []
    for model in given.models or MODELS:
        batch = given.batch_size or BATCH.get(model, 128)
        result = pair.measure(Job(model, batch, given.what, given.image_size), given.steps)
        print(row(result, pair.peak), flush=True)
        results.append(result)
    if pair.theirs:
        largest = max(error for result in results for error in result.errors.values())
        print(f"\nthe same computation: first results differ by {largest:.0e} at most")
    return results


def row(result: Result, peak: float) -> str:
    text = f"{result.job.model:6} {result.job.batch_size:5} {result.spread('ours')!s:>22}"
    if plain := result.best():
        text += f" {result.spread(plain)!s:>22} {plain:13} {result.ratio(plain):5.2f}"
    if fused := result.best(fused=True):
        text += f" {result.spread(fused)!s:>22} {result.ratio(fused):5.2f}"
    share = f"{result.gflops / peak:.0%}"
    return f"{text} {result.gflop:7.3f} {result.gflops:7.1f} {share:>7}"


def write(path: Path, content: dict[str, object]) -> None:
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise Problem(f"--json: {error}") from None


if __name__ == "__main__":
    with problems_in_one_line():
        main()
