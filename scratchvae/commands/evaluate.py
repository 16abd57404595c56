"""`scratchvae evaluate RUN`: how good a trained model is, in numbers, on its test images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import current_engine
from ..data import is_binary
from ..evaluation.metrics import FEW_IMAGES, report
from ..gradcheck.report import table
from ..models import BernoulliVAE
from ..models.weights import write_atomically
from ..runs import Run
from ..runs.json_text import to_json
from ..train import streams
from .options import (
    at_least_zero,
    json_option,
    paint,
    positive,
    print_json,
    say,
)
from .run_options import check_place, open_for, run_options

STRONGEST = 10  # dimensions
EPILOG = """\
examples:
  scratchvae evaluate runs/digits
  scratchvae evaluate runs/binary --nll-samples 1000 --nll-images 500
  scratchvae evaluate runs/digits --json --out evaluation.json
"""


def add(commands: Any) -> None:
    """Add the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a trained model on its test images",
        description="Measure a trained model on its test images: the -ELBO, the likelihood by "
        "importance sampling if asked for, what its latent dimensions tell, and how well it "
        "reconstructs. In black and white if the run was trained so, with the same draw.",
        epilog=EPILOG,
    )
    option = parser.add_argument
    run_options(parser)
    option(
        "--nll-samples", type=positive(int), metavar="K",
        help="estimate -log p(x) with K samples for each image; 1000 and more tell something",
    )  # fmt: skip
    option(
        "--nll-images", type=positive(int), metavar="N",
        help="only for the first N test images (all)",
    )  # fmt: skip
    option(
        "--grey-levels", action="store_true",
        help="estimate it also where pixels are grey, taken for probabilities: not comparable with "
        "likelihoods of black and white images",
    )  # fmt: skip
    option(
        "--seed", type=at_least_zero(int), metavar="N", help="of all draws (the run's: the numbers "
        "are those of its metrics.json)",
    )  # fmt: skip
    option("--out", type=Path, metavar="FILE.json", help="write the result there, too")
    json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a table, or JSON."""
    for option in ("nll_images", "grey_levels"):
        if getattr(args, option) and not args.nll_samples:
            args.parser.error(f"--{option.replace('_', '-')} goes with --nll-samples")
    if args.nll_images == 1:
        args.parser.error("--nll-images: expected at least 2, for a standard error, got 1")
    if args.out is not None:
        check_place(args.out, args.folder)
    run = open_for(args)
    seed = run.config.seed if args.seed is None else args.seed
    rng = streams(seed).test  # that of metrics.json, see runs/results.py
    images = run.test_images()
    if args.nll_samples and not args.grey_levels:
        refuse_grey_levels(run, images)
    found = report(run.model, images, rng, args.nll_samples or 0, args.nll_images, args.grey_levels)
    result = {
        "model": run.config.model,
        "data": run.config.data,
        "weights": run.weights,
        "engine": current_engine(),
        "seed": seed,
        "binarized": run.config.binarize,
        "test": found,
    }
    if args.out is not None:
        write_atomically(args.out, (to_json(result) + "\n").encode())
    if args.json:
        print_json(result)
        return 0
    print(in_words(run, found))
    if warning := found.get("warning"):
        say(f"{paint('warning:', 'yellow', sys.stderr)} {warning}")
    return 0


def refuse_grey_levels(run: Run, images: np.ndarray) -> None:
    """In the words of the command line; metrics.py would refuse them, too."""
    if isinstance(run.model, BernoulliVAE) and not is_binary(images):
        raise ValueError(
            "--nll-samples: the test images have grey levels, and this decoder has likelihoods of "
            "black and white: train with --binarize, or say --grey-levels to take grey levels for "
            "probabilities"
        )


# --- For people ----------------------------------------------------------------------------------


def in_words(run: Run, found: dict[str, Any]) -> str:
    """Where the numbers are from, and a table of them."""
    lines = [
        f"weights  {run.weights}",
        f"data     {run.config.data}: {found['images']:,} test images, {pixels(run, found)}",
        f"engine   {current_engine()}",
        "",
        table([["measure", "value", ""], *likelihood_rows(found), *quality_rows(found)]),
    ]
    if reason := found.get("no_likelihood"):
        lines += ["", f"no likelihood: {reason}"]
    return "\n".join(lines)


def pixels(run: Run, found: dict[str, Any]) -> str:
    """What the pixels are to the decoder."""
    if not isinstance(run.model, BernoulliVAE):
        return f"values from {run.model.data_range[0]:g} to {run.model.data_range[1]:g}"
    if run.config.binarize:
        return "black or white by the run's draw"
    if found["binary_pixels"]:
        return "black and white as they are"
    return "grey levels taken for probabilities (no bound on a likelihood)"


def likelihood_rows(found: dict[str, Any]) -> list[list[str]]:
    """The -ELBO, and -log p(x) by the number of samples."""
    unit = "nats per image"
    if "decoder_sigma" in found:
        unit += f", density of a Gaussian decoder of sigma {found['decoder_sigma']:.3g}"
    rows = []
    if "neg_elbo" in found:
        rows.append(["-ELBO", plus_minus(found["neg_elbo"]), unit])
    for samples, estimate in found.get("nll", {}).items():
        count = f"{int(samples):,} sample{'s' if samples != '1' else ''}"
        images = f"; the first {estimate['images']:,} images"
        rows.append(
            [f"-log p(x), {count}", plus_minus(estimate),
             unit + (images if estimate["images"] < found["images"] else "")]
        )  # fmt: skip
    return rows


def plus_minus(estimate: dict[str, Any]) -> str:
    """A mean and its standard error."""
    return f"{estimate['value']:.2f} ± {estimate['standard_error']:.2f}"


def quality_rows(found: dict[str, Any]) -> list[list[str]]:
    """What z tells, and how well images come back."""
    rows = []
    if "kl" in found:
        kl = np.array(found["kl_per_dimension"])
        rows.append(["KL", f"{found['kl']:.2f}", "nats per image"])
        if len(kl) > 1:  # `skip` may have one mu and logvar for all of z
            strongest = np.argsort(-kl, kind="stable")[:STRONGEST]
            rows += [[f"KL of z[{d}]", f"{kl[d]:.2f}", "nats per image"] for d in strongest]
        units = f"{found['active_units']} of {len(kl)}"
        rows.append(["active units", units, "their mu has a variance above 0.01"])
    error = found["reconstruction"]
    psnr = "no error" if error["psnr"] is None else f"{error['psnr']:.2f}"
    rows += [
        ["mean squared error", f"{error['mse']:.3g}", "at z = mu, of images from 0 to 1"],
        ["PSNR", psnr, "dB"],
    ]
    if effect := found.get("effect_of_z"):
        first = f"of the first {min(FEW_IMAGES, found['images'])} images"
        rows += [
            ["error, noise for z", f"{effect['with_noise_for_z']:.3g}", first],
            ["change by that noise", f"{effect['change']:.3g}", "0: the picture leaks past z"],
            ["variance", f"{effect['variance']:.3g}", "what one picture for all would err by"],
        ]
    return rows
