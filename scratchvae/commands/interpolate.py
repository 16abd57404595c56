"""`scratchvae interpolate RUN`: what lies between two images in the latent space."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.latents import decoded, great_circle, line, posterior_codes
from .options import numbers, positive
from .pictures import (
    add_command,
    deliver,
    images_at,
    open_to_draw,
    skips_for,
    skips_option,
)

PAIRS = list(range(10))  # test images, if none are chosen
EPILOG = """\
examples:
  scratchvae interpolate runs/digits
  scratchvae interpolate runs/digits --pairs 3,5,7,9 --steps 15
  scratchvae interpolate runs/faces --spherical
"""


def add(commands: Any) -> None:
    """Add the parser."""
    parser = add_command(
        commands, "interpolate", "draw the way from one test image to another",
        "Draw the way from one test image to another: codes between their codes (mu), decoded, "
        "in a row for each pair.", EPILOG,
    )  # fmt: skip
    option = parser.add_argument
    option(
        "--pairs", type=numbers, metavar="A,B,...",
        help="test images by index, two to a row (the first ten)",
    )  # fmt: skip
    option("--steps", type=positive(int), default=10, metavar="N", help="images in a row (10)")
    option(
        "--spherical", action="store_true",
        help="along a great circle, not a straight line: the length of z stays what it is",
    )  # fmt: skip
    skips_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """A row for each pair; its ends are the reconstructions of the two."""
    given = args.pairs or []
    if len(given) % 2 or args.steps < 2:
        raise ValueError(
            f"--pairs takes an even number of images and --steps at least 2, got {len(given)} and "
            f"{args.steps}"
        )
    run = open_to_draw(args)
    pairs = given or PAIRS[: max(2, len(run.test_images()) // 2 * 2)]
    ends = posterior_codes(run.model, images_at(run, pairs, "--pairs"))
    skips_from = skips_for(run, args.skips_from)
    t = np.linspace(0, 1, args.steps)
    z = (great_circle if args.spherical else line)(ends[::2], ends[1::2], t)
    images = decoded(run.model, z.reshape(-1, *ends.shape[1:]), skips_from)
    images = images.reshape(*z.shape[:2], *images.shape[1:])

    def draw(path: Path) -> None:
        from .. import plots  # here: matplotlib takes a second to import

        rows = [f"{a} to {b}" for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
        plots.image_table(images, path, rows, [f"{x:.2f}" for x in t], run.model.data_range)

    return deliver(args, run, draw, z=z, images=images, t=t, test_indices=np.array(pairs))
