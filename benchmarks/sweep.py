"""`train_step.py --sweep`: how the cost of a step grows with the batch, the image or the channels.

    batch       1, 2, 4, ... 1024 images at a time                          conv, or --models
    image       square images of several sizes, the model's own batch       conv, celeba, skip
    channels    Conv2d of 3 x 3, padding 1, and ReLU; forward and backward, dx too, 14 x 14 maps

Ours alone, unless `--against torch` is given.
"""

from __future__ import annotations

import argparse

from jobs import BATCH, LAYERS, Job
from measure import Problem
from pair import Pair, Result

SWEEPS = ("batch", "image", "channels")
BATCHES = [2**i for i in range(11)]
SIZES = {"conv": [28, 56, 112, 224, 256], "celeba": [64, 128, 256], "skip": [64, 128, 256]}
CHANNELS = [8, 16, 32, 64, 128, 256]


Tables = dict[str, list[tuple[int, Job]]]  # by model: a job for every row, and its first number


def sweep(pair: Pair, given: argparse.Namespace, tables: Tables) -> list[Result]:
    """A table for every model, a row for every size, printed as soon as it is measured."""
    results = []
    for model, jobs in tables.items():
        images = "" if given.sweep == "batch" else f", batch {jobs[0][1].batch_size}"
        print(f"{model}{images}, {given.what}: median ms of {given.steps} steps")
        theirs = f" {'PyTorch':>9} {'format':13} {'ratio':>5}" if pair.theirs else ""
        print(
            f"{given.sweep:>8} {'a step':>9} {'an image':>9}{theirs} {'GFLOP/s':>8} {'of peak':>7}"
        )
        for size, job in jobs:
            result = pair.measure(job, given.steps)
            print(row(size, result, pair.peak), flush=True)
            results.append(result)
        print()
    return results


def plan(given: argparse.Namespace) -> Tables:
    """What the arguments ask for; Problem if they contradict each other."""
    if given.sweep == "channels":
        if given.models or given.image_size or given.what != "train":
            raise Problem("--sweep channels takes no --models, no --image-size and no --what")
        batch = given.batch_size or BATCH[LAYERS]
        return {LAYERS: [(c, Job(LAYERS, batch, channels=c)) for c in CHANNELS]}
    if given.sweep == "batch":
        if given.batch_size:
            raise Problem("--sweep batch takes no --batch-size")
        return {
            model: [(n, Job(model, n, given.what, given.image_size)) for n in BATCHES]
            for model in given.models or ["conv"]
        }
    models = given.models or list(SIZES)
    if given.image_size or (unknown := [model for model in models if model not in SIZES]):
        what = "no --image-size" if given.image_size else f"no --models {' '.join(unknown)}"
        raise Problem(f"--sweep image takes {what}; it knows sizes for {', '.join(SIZES)}")
    return {
        model: [
            (size, Job(model, given.batch_size or BATCH.get(model, 128), given.what, size))
            for size in SIZES[model]
        ]
        for model in models
    }


def row(size: int, result: Result, peak: float) -> str:
    median = result.spread("ours").median
    text = f"{size:8} {median:9.2f} {median / result.job.images:9.4f}"
    if plain := result.best():
        text += f" {result.spread(plain).median:9.2f} {plain:13} {result.ratio(plain):5.2f}"
    return f"{text} {result.gflops:8.1f} {result.gflops / peak:7.0%}"
