"""`scratchvae evaluate RUN`: measure a trained model on its test images."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..backend import current_engine
from ..data import binarize
from ..evaluation.metrics import FEW_IMAGES, per_image, report
from ..output import table, to_json, warn, write_atomically
from ..runs import Run
from ..runs.data import images_of
from ..train import streams
from .options import (
    add_command,
    at_least,
    flag,
    open_for,
    option,
    path,
    positive,
    run_options,
    show,
)

STRONGEST = 10  # dimensions


def add(commands: Any) -> None:
    parser = add_command(
        commands, "evaluate", run, "measure a trained model on its test images",
        ": the -ELBO, the KL of its latent dimensions, the reconstruction error and the effect of "
        "z; with --nll-samples also -log p(x), by importance sampling. If the run was trained with "
        "--binarize, the test images are binarized with the same random draw.",
        "scratchvae evaluate runs/digits",
        "scratchvae evaluate runs/binary --nll-samples 1000 --nll-images 500",
        "scratchvae evaluate runs/digits --json --out evaluation.json",
        "scratchvae evaluate runs/parts --data images:new-parts --part all --per-image parts.csv",
    )  # fmt: skip
    run_options(parser)
    part_option(parser, "test")
    option(
        parser, "--per-image FILE.csv", path, "also write a line for each image: -ELBO, "
        "reconstruction and KL in nats; a model without a likelihood has no -ELBO, and its "
        "reconstruction is the mean squared error",
    )  # fmt: skip
    samples = "estimate -log p(x) with K samples per image; use at least 1000"
    option(parser, "--nll-samples K", positive(int), samples)
    few = "use only N images across the list for this estimate, at least 2"
    option(parser, "--nll-images N", at_least(2), few, shown="all")
    option(
        parser, "--grey-levels", bool, "allow grey pixels in this estimate and treat them as "
        "probabilities; the result cannot be compared with likelihoods of binary images",
    )  # fmt: skip
    reproduces = "the run's, which reproduces its metrics.json"
    option(parser, "--seed N", at_least(0), "random seed", shown=reproduces)
    option(parser, "--out FILE.json", path, "also write the result to this file")


def part_option(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --part, for `parts_of`."""
    names = ("test", "train", "validation", "all")
    help = f"which images of the data set: {', '.join(names[:-1])} or all"
    option(parser, "--part PART", names, help, default)


class Part(NamedTuple):
    """A part of a data set: uint8 images, one of `names` and `labels` for each, or None."""

    part: str
    images: np.ndarray
    names: Sequence[str] | None
    labels: np.ndarray | None


def parts_of(run: Run, part: str) -> list[Part]:
    """The training, validation and test images of a run, or one of these, in black and white if it
    binarizes; validation and test images with the draw of the training. ValueError if there are
    none."""
    data, config = run.load_data(), run.config
    split = images_of(replace(config, validation=0.0, patience=None), data)
    every = {"train": split.train, split.which: split.held_out, "test": split.test}
    images = {n: found for n, found in every.items() if part in (n, "all") and len(found)}
    if not images:
        held_out = "; those that --validation held out are in --part train"
        raise ValueError(
            f"--part {part}: {config.data} has no such images"
            f"{held_out if part == 'validation' and config.validation else ''}"
        )
    if config.binarize and "train" in images:
        images["train"] = binarize(images["train"], streams(config.seed).binarize)
    return [
        Part(name, found, getattr(data, f"{name}_names"), getattr(data, f"{name}_labels"))
        for name, found in images.items()
    ]


def image_names(part: Part) -> list[str]:
    """A name for each image, `written`; without names its index in the part."""
    names = map(str, range(len(part.images))) if part.names is None else part.names
    return [*map(written, names)]


def written(name: str) -> str:
    """A name with escapes for the bytes that are no text."""
    return name.encode("utf-8", "backslashreplace").decode()


def run(args: argparse.Namespace) -> int:
    for name in ("nll_images", "grey_levels"):
        if getattr(args, name) and not args.nll_samples:
            args.parser.error(f"{flag(name)} needs --nll-samples")
    run = open_for(args, args.out, args.per_image)
    seed = run.config.seed if args.seed is None else args.seed
    parts = parts_of(run, args.part)
    images = parts[0].images if len(parts) == 1 else np.concatenate([p.images for p in parts])
    if len(images) < 2:  # for a variance over images
        whole = "" if args.part == "all" else ": choose --part all"
        raise ValueError(
            f"{run.config.data} has 1 {what(args.part)[:-1]}, but evaluate needs at least 2{whole}"
        )
    nll = args.nll_samples or 0, args.nll_images, args.grey_levels
    found = report(run.model, images, streams(seed).test, *nll)  # as in runs/results.py
    result = {
        "model": run.config.model,
        "data": run.config.data,
        "part": args.part,
        "weights": run.weights,
        "engine": current_engine(),
        "seed": seed,
        "binarized": run.config.binarize,
        "data_changed": run.data_changed(),
        args.part: found,
    }
    try:
        if args.per_image is not None:
            rng = streams(seed).test.spawn(1)[0]  # that of the -ELBO in `report`
            rows = per_image_csv(parts, per_image(run.model, images, rng))
            write_atomically(args.per_image, rows)
        if args.out is not None:
            write_atomically(args.out, (to_json(result) + "\n").encode())
            args.saved = True
    finally:  # a result that cannot be written is not lost
        show(args, result, in_words(run, found, args.part))
    if (warning := found.get("warning")) and not args.json:
        warn(warning)
    return 0


def per_image_csv(parts: list[Part], numbers: dict[str, np.ndarray]) -> bytes:
    """A line for each image: its name, its numbers and its part of the data set."""
    named = ((name, part.part) for part in parts for name in image_names(part))
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["image", *numbers, "part"])
    for (name, part), *row in zip(named, *numbers.values(), strict=True):
        lines.writerow([name, *map(float, row), part])
    return text.getvalue().encode()


def in_words(run: Run, found: dict[str, Any], part: str = "test") -> str:
    """The origin of the numbers, and a table of them."""
    lines = [
        f"weights  {run.weights}",
        f"data     {run.config.data}: {found['images']:,} {what(part)}, {pixels(run, found)}",
        f"engine   {current_engine()}",
        "",
        table([["measure", "value", ""], *measures(found)]),
    ]
    if reason := found.get("no_likelihood"):
        lines += ["", f"no likelihood: {reason}"]
    return "\n".join(lines)


def what(part: str) -> str:
    """The images of a part, or of all parts, as text."""
    return {"train": "training images", "all": "images"}.get(part, f"{part} images")


def pixels(run: Run, found: dict[str, Any]) -> str:
    """How the decoder treats the pixels."""
    if run.model.decoder_distribution != "Bernoulli":
        return f"pixels from {run.model.data_range[0]:g} to {run.model.data_range[1]:g}"
    if run.config.binarize:
        return "binarized with the random draw of the run"
    if found["binary_pixels"]:
        return "already binary"
    return "grey levels treated as probabilities (the -ELBO bounds no likelihood)"


def measures(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The rows of the table: name, value and unit or meaning."""
    nats, images = "nats per image", "{:,} images across the list"
    density = nats
    if "decoder_sigma" in found:
        density += f", density under a Gaussian decoder with sigma {found['decoder_sigma']:.3g}"
    estimates = {"-ELBO": found["neg_elbo"]} if "neg_elbo" in found else {}
    for samples, estimate in found.get("nll", {}).items():
        estimates[f"-log p(x), {int(samples):,} sample{'s' if samples != '1' else ''}"] = estimate
    for name, estimate in estimates.items():
        value = f"{estimate['value']:.2f} ± {estimate['standard_error']:.2f}"
        few = estimate.get("images", found["images"]) < found["images"]
        yield name, value, f"{density}, {images.format(estimate['images'])}" if few else density
    if "kl" in found:
        kl = np.array(found["kl_per_dimension"])
        yield "KL", f"{found['kl']:.2f}", nats
        if len(kl) > 1:  # `skip` may have one mu and logvar for all of z
            for d in np.argsort(-kl, kind="stable")[:STRONGEST]:
                yield f"KL of z[{d}]", f"{kl[d]:.2f}", nats
        meaning = "latent dimensions whose mu has a variance above 0.01"
        yield "active units", f"{found['active_units']} of {len(kl)}", meaning
    mse, psnr = found["reconstruction"]["mse"], found["reconstruction"]["psnr"]
    yield "mean squared error", f"{mse:.3g}", "z = mu, pixels scaled to [0, 1]"
    yield "PSNR", "infinite" if psnr is None else f"{psnr:.2f}", "dB"
    if effect := found.get("effect_of_z"):
        keys = ("with_noise_for_z", "change", "variance")
        error, change, variance = (f"{effect[key]:.3g}" for key in keys)
        few = images.format(min(FEW_IMAGES, found["images"]))
        yield "error, random z", error, f"z ~ N(0, I) instead of mu; {few}"
        yield "change, random z", change, "mean squared; 0: the decoder does not use z"
        yield "image variance", variance, "error if every output were the mean image"
