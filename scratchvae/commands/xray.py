"""`scratchvae xray MODEL|RUN`: a training step as a page for the browser."""

from __future__ import annotations

import argparse
import time
import webbrowser
from copy import deepcopy
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from ..data import batches
from ..data.sources import find_on_disk
from ..models import MODELS, build
from ..optim import Optimizer
from ..output import did_you_mean, note, write_atomically
from ..runs import Config, Run, RunFolder
from ..runs.checkpoint import below
from ..runs.data import how_to_fit, image_shape, load_data
from ..runs.trainer import optimizer_for
from ..xray.page import page
from .options import (
    DATA_OPTIONS,
    add_command,
    at_least,
    check_outputs,
    config_option,
    open_for,
    option,
    path,
    positive,
    show,
)


class Subject(NamedTuple):
    """What the page shows a step of."""

    optimizer: Optimizer  # of the model
    max_norm: float | None  # of the gradients
    test_images: np.ndarray  # uint8
    data: str  # name of the data set
    title: str
    state: str  # a sentence about the weights and the optimizer
    facts: dict[str, Any]  # for --json


def add(commands: Any) -> None:
    parser = add_command(
        commands, "xray", run, "show a training step line by line, as a page for the browser",
        ": what each line of forward, backward and update makes of your images, and a proof of "
        "each gradient. A MODEL has fresh weights. A RUN, finished or not, has its own weights and "
        "optimizer. A folder with the name of a model counts only if it is a run.",
        "scratchvae xray",
        "scratchvae xray conv --image 3 --open",
        "scratchvae xray celeba --data images:photos --image-size 32",
        "scratchvae xray runs/digits",
    )  # fmt: skip
    known = f"a model ({', '.join(MODELS)}) or the folder of a run"
    option(parser, "target MODEL|RUN", path, known, "mlp", nargs="?")
    option(parser, "--image N", at_least(0), "first image: test image N, counted from 0", 0)
    count = "number of images; the page shows the first; many take minutes"
    option(parser, "--batch N", positive(int), count, 2)
    option(parser, "--seed N", at_least(0), "random seed for the noise and for fresh weights", 0)
    drawn = "the run's; for a MODEL mnist if it is here, or drawn digits; in colour drawn faces"
    for name in DATA_OPTIONS:
        config_option(parser, name, shown=drawn if name == "data" else "the run's")
    option(parser, "--anyway", bool, "use the data set even if it has changed since the training")
    default = "xray.html; for a RUN RUN/pictures/xray.html"
    html = partial(path, suffix=".html")
    option(parser, "--out FILE.html", html, "file for the page", None, default)
    option(parser, "--open", bool, "open the page in a browser")
    parser.set_defaults(engine="numpy", tf32=False)  # the engine whose code the page shows


def run(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    files = RunFolder(args.target)
    is_run = files.config.exists()
    out = args.out or (files.pictures if is_run else Path()) / "xray.html"
    subject = of_run(args, out) if is_run else of_model(args, out)
    optimizer, images = subject.optimizer, chosen(args, len(subject.test_images))
    x, eps = batch_of(subject, images, args.seed)
    which = f"{in_words(images)} of {subject.data}. {subject.state}"
    html = page(optimizer.model, x, eps, optimizer, subject.max_norm, subject.title, which)
    content = html.encode(errors="backslashreplace")  # a folder's name can be any bytes
    out.parent.mkdir(exist_ok=True)  # the pictures of a run
    write_atomically(out, content)
    args.saved = True
    result = {
        "file": out,
        "bytes": len(content),
        "seconds": time.perf_counter() - start,
        **subject.facts,
        "data": subject.data,
        "images": [*images],
        "seed": args.seed,
        "optimizer": type(optimizer).__name__,
        "steps": optimizer.steps,
        "lr": optimizer.lr,
    }
    size = f"{len(content) / 1e6:.1f} MB"
    show(args, result, f"{out}: a training step of {subject.facts['model']}, {size}")
    if args.open:
        open_in_browser(out)
    return 0


def open_in_browser(file: Path) -> None:
    """Open a page; a note if there is no browser."""
    try:
        opened = webbrowser.open(file.resolve().as_uri())
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        note(f"no browser could be started: open {file} yourself")


# ----------------------------------------------------------------------- a model with fresh weights


def of_model(args: argparse.Namespace, out: Path) -> Subject:
    """A model with fresh weights, made for the images of its data set; ValueError for an unknown
    name, or if the images do not fit."""
    check_outputs(RunFolder(out.parent), [out])
    name = str(args.target)
    if name not in MODELS:
        runs = [str(config.parent) for config in args.target.parent.glob("*/config.json")]
        raise ValueError(
            f"unknown model or run {name!r}{did_you_mean(name, [*MODELS, *runs])}; expected a "
            f"model ({', '.join(MODELS)}) or the folder of a run"
        )
    usual = {"model": name, "data": usual_data(name, args.data_dir), "seed": args.seed}
    given = {n: value for n in DATA_OPTIONS if (value := getattr(args, n)) is not None}
    config = Config(**usual | given)
    data = load_data(config)
    config = replace(config, image_shape=image_shape(data))
    try:
        model = build(name, **config.model_options())
    except ValueError as why:
        nearest = cast(Any, MODELS[name]).nearest_shape(config.image_shape)
        raise ValueError(f"{why}{how_to_fit(config.image_shape, nearest)}") from None
    optimizer = optimizer_for(config, model)
    state = f"The weights are fresh (seed {args.seed}), and {first_step(optimizer)}."
    facts = {"model": name, "run": None, "weights": None, "checkpoint": None}
    title = type(model).__name__
    return Subject(optimizer, None, data.test_images, data.name, title, state, facts)


def usual_data(model: str, data_dir: str | None) -> str:
    """A data set for the model that needs no download."""
    C, _, _ = signature(MODELS[model]).parameters["image_shape"].default
    if C == 3:
        return "faces"
    return "mnist" if data_dir or find_on_disk("mnist")[0] else "glyphs"


# ------------------------------------------------------------------------------------------- a run


def of_run(args: argparse.Namespace, out: Path) -> Subject:
    """The model of a run and its optimizer. With --data, images of another data set."""
    args.folder = args.target
    run = open_for(args, out)
    config, folder, optimizer = run.config, run.folder, optimizer_for(run.config, run.model)
    kind = type(optimizer).__name__
    if checkpoint := restore(optimizer, run):
        state = (
            f"The weights, and {' and '.join(averages_of(optimizer))} of {kind} (learning rate "
            f"{optimizer.lr:g}), are those of {folder} after {optimizer.steps:,} steps."
        )
    else:
        state = (
            f"The weights are those of {folder}. No checkpoint has these weights, so "
            f"{first_step(optimizer)}."
        )
    if config.clip_norm is not None:
        state += f" Gradients are clipped to a norm of {config.clip_norm:g}."
    title = f"{type(run.model).__name__} of {folder}"
    facts = {"model": config.model, "run": folder, "weights": run.weights, "checkpoint": checkpoint}
    data = run.load_data().name
    return Subject(optimizer, config.clip_norm, run.test_images(), data, title, state, facts)


def restore(optimizer: Optimizer, run: Run) -> Path | None:
    """Load the running averages from the checkpoint that has the run's weights; returns its path,
    or None if there is none."""
    files = RunFolder(run.folder)
    files.read_config()
    weights = run.model.state_dict()
    shapes = {name: a.shape for name, a in averages_of(optimizer).items()}
    for file in (files.best, *files.all_checkpoints()):
        try:
            arrays, progress = files.read_checkpoint(file)
        except ValueError:  # missing, damaged, or of another run
            continue
        saved, averages = below("model.", arrays), below("optimizer.", arrays)
        same = saved.keys() == weights.keys() and all(
            np.array_equal(saved[name], a) for name, a in weights.items()
        )
        if same and {name: a.shape for name, a in averages.items()} == shapes:
            for name, a in averages.items():
                getattr(optimizer, name)[...] = a
            optimizer.steps = progress["step"]
            return file
    return None


def averages_of(optimizer: Optimizer) -> dict[str, np.ndarray]:
    """The optimizer's running averages by name: m and v, or the velocity."""
    return {n: a for n, a in vars(optimizer).items() if isinstance(a, np.ndarray)}


def first_step(optimizer: Optimizer) -> str:
    return f"{type(optimizer).__name__} (learning rate {optimizer.lr:g}) takes its first step"


# -------------------------------------------------------------------------------------- the batch


def chosen(args: argparse.Namespace, total: int) -> range:
    """The indices of the images; ValueError if the test set has not so many."""
    first = args.image
    if first >= total:
        raise ValueError(f"--image: expected an index from 0 to {total - 1}, got {first}")
    if first + args.batch > total:
        raise ValueError(
            f"--batch: expected at most {total - first}, because test image {total - 1} is the "
            f"last one, got {args.batch}"
        )
    return range(first, first + args.batch)


def in_words(images: range) -> str:
    """Which test images, at the beginning of a sentence."""
    first, last = images[0], images[-1]
    if first == last:
        return f"Test image {first}"
    return f"Test images {first} {'and' if last == first + 1 else 'to'} {last}"


def batch_of(subject: Subject, images: range, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The images as floats in the model's data_range, and the noise; ValueError if it is a single
    image and the model has a batch norm that cannot train on one."""
    model, pixels = subject.optimizer.model, subject.test_images[images.start : images.stop]
    x = next(batches(pixels, len(pixels), data_range=model.data_range, dtype=model.dtype))
    eps = model.noise(len(x), np.random.default_rng(seed))
    if len(x) == 1:
        copy = deepcopy(model)
        copy.train()
        try:
            copy.loss(x, eps, keep=False)
        except ValueError as why:
            raise ValueError(f"--batch: expected 2 or more for this model, got 1: {why}") from None
    return x, eps
