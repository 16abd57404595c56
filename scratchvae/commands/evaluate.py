"""`scratchvae evaluate RUN`: measure a trained model on its test images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import current_engine
from ..evaluation.metrics import FEW_IMAGES, report
from ..output import table, to_json, write_atomically
from ..runs import Run
from ..train import streams
from .options import add_command, at_least, open_for, positive, run_options, show, warn

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
    )  # fmt: skip
    option = parser.add_argument
    run_options(parser)
    option(
        "--nll-samples", type=positive(int), metavar="K",
        help="estimate -log p(x) with K samples per image; use at least 1000",
    )  # fmt: skip
    option(
        "--nll-images", type=at_least(2), metavar="N",
        help="use only the first N test images for this estimate, at least 2 (default: all)",
    )  # fmt: skip
    option(
        "--grey-levels", action="store_true",
        help="allow grey pixels in this estimate and treat them as probabilities; the result "
        "cannot be compared with likelihoods of binary images",
    )  # fmt: skip
    option(
        "--seed", type=at_least(0), metavar="N",
        help="random seed (default: the run's, which reproduces its metrics.json)",
    )  # fmt: skip
    option("--out", type=Path, metavar="FILE.json", help="also write the result to this file")


def run(args: argparse.Namespace) -> int:
    for option in ("nll_images", "grey_levels"):
        if getattr(args, option) and not args.nll_samples:
            args.parser.error(f"--{option.replace('_', '-')} needs --nll-samples")
    run = open_for(args, args.out)
    seed = run.config.seed if args.seed is None else args.seed
    rng = streams(seed).test  # that of metrics.json, see runs/results.py
    nll = args.nll_samples or 0, args.nll_images, args.grey_levels
    found = report(run.model, run.test_images(), rng, *nll)
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
    show(args, result, in_words(run, found))
    if (warning := found.get("warning")) and not args.json:
        warn(warning)
    return 0


def in_words(run: Run, found: dict[str, Any]) -> str:
    """The origin of the numbers, and a table of them."""
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
    """How the decoder treats the pixels."""
    if run.model.decoder_distribution != "Bernoulli":
        return f"pixels from {run.model.data_range[0]:g} to {run.model.data_range[1]:g}"
    if run.config.binarize:
        return "binarized with the random draw of the run"
    if found["binary_pixels"]:
        return "already binary"
    return "grey levels treated as probabilities (the -ELBO bounds no likelihood)"


def likelihood_rows(found: dict[str, Any]) -> list[list[str]]:
    """The -ELBO, and -log p(x) by the number of samples."""
    unit = "nats per image"
    if "decoder_sigma" in found:
        unit += f", density under a Gaussian decoder with sigma {found['decoder_sigma']:.3g}"
    rows = []
    if "neg_elbo" in found:
        rows.append(["-ELBO", plus_minus(found["neg_elbo"]), unit])
    for samples, estimate in found.get("nll", {}).items():
        count = f"{int(samples):,} sample{'s' if samples != '1' else ''}"
        images = f", first {estimate['images']:,} images"
        rows.append(
            [f"-log p(x), {count}", plus_minus(estimate),
             unit + (images if estimate["images"] < found["images"] else "")]
        )  # fmt: skip
    return rows


def plus_minus(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.2f} ± {estimate['standard_error']:.2f}"


def quality_rows(found: dict[str, Any]) -> list[list[str]]:
    """The KL, the reconstruction error and the effect of z."""
    rows = []
    if "kl" in found:
        kl = np.array(found["kl_per_dimension"])
        rows.append(["KL", f"{found['kl']:.2f}", "nats per image"])
        if len(kl) > 1:  # `skip` may have one mu and logvar for all of z
            strongest = np.argsort(-kl, kind="stable")[:STRONGEST]
            rows += [[f"KL of z[{d}]", f"{kl[d]:.2f}", "nats per image"] for d in strongest]
        units = f"{found['active_units']} of {len(kl)}"
        rows.append(["active units", units, "latent dimensions whose mu has a variance above 0.01"])
    error = found["reconstruction"]
    psnr = "infinite" if error["psnr"] is None else f"{error['psnr']:.2f}"
    rows += [
        ["mean squared error", f"{error['mse']:.3g}", "z = mu, pixels scaled to [0, 1]"],
        ["PSNR", psnr, "dB"],
    ]
    if effect := found.get("effect_of_z"):
        images = f"first {min(FEW_IMAGES, found['images'])} images"
        number = {name: f"{value:.3g}" for name, value in effect.items()}
        rows += [
            ["error, random z", number["with_noise_for_z"], f"z ~ N(0, I) instead of mu; {images}"],
            ["change, random z", number["change"], "mean squared; 0: the decoder does not use z"],
            ["image variance", number["variance"], "error if every output were the mean image"],
        ]
    return rows
