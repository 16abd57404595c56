"""`scratchvae sample RUN`: images that a trained model makes of noise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.latents import decoded, prior_codes
from ..models import VAE
from .options import at_least_zero, positive, say
from .pictures import add_command, deliver, open_to_draw, skips_for, skips_option

NO_PRIOR = (
    "an autoencoder's codes lie where training has left them, not where N(0, I) does: what is "
    "decoded here are codes that it has never seen"
)
EPILOG = """\
examples:
  scratchvae sample runs/digits
  scratchvae sample runs/faces --count 24 --columns 6 --temperature 0.7
  scratchvae sample runs/digits --count 10000 --npz samples.npz
"""


def add(commands: Any) -> None:
    """Add the parser."""
    what = "draw images decoded from z ~ N(0, I)"
    parser = add_command(commands, "sample", what, f"D{what[1:]}.", EPILOG)
    option = parser.add_argument
    option("--count", type=positive(int), default=64, metavar="N", help="images (64)")
    option("--columns", type=positive(int), default=8, metavar="N", help="images in a row (8)")
    option("--seed", type=at_least_zero(int), default=0, metavar="N", help="of z (0)")
    option(
        "--temperature", type=at_least_zero(float), default=1.0, metavar="T",
        help="standard deviation of z; less than 1: cleaner images, more alike (1)",
    )  # fmt: skip
    skips_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """A grid of images, row by row."""
    run = open_to_draw(args)
    if not isinstance(run.model, VAE):
        say(NO_PRIOR)
    skips_from = skips_for(run, args.skips_from)
    rng = np.random.default_rng(args.seed)
    z = prior_codes(run.model, args.count, rng, args.temperature)
    images = decoded(run.model, z, skips_from)

    def draw(path: Path) -> None:
        from .. import plots  # here: matplotlib takes a second to import

        columns = min(args.columns, args.count)
        plots.image_grid(images, path, columns, run.model.data_range)

    return deliver(args, run, draw, z=z, images=images)
