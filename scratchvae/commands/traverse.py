"""`scratchvae traverse RUN`: what each latent dimension does to an image."""

from __future__ import annotations

import argparse
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.latents import decoded, most_active, posterior_codes, traversal
from ..runs import Run
from .options import numbers, positive
from .pictures import (
    add_command,
    as_floats,
    deliver,
    images_at,
    open_to_draw,
    skips_for,
    skips_option,
)

AT_MOST, LOOKED_AT = 10, 2000  # dimensions that are chosen here, by test images
EPILOG = """\
examples:
  scratchvae traverse runs/digits
  scratchvae traverse runs/digits --dimensions 0,5 --image 3
  scratchvae traverse runs/faces --range 4 --steps 15
"""


def add(commands: Any) -> None:
    """Add the parser."""
    parser = add_command(
        commands, "traverse", "draw what each latent dimension does",
        "Draw a row for each of the chosen latent dimensions: its value goes from -3 to 3, all "
        "others stay, and the codes are decoded.", EPILOG,
    )  # fmt: skip
    option = parser.add_argument
    option(
        "--dimensions", type=numbers, metavar="D,D,...",
        help=f"counted from 0 (those whose mu varies most over test images, at most {AT_MOST})",
    )  # fmt: skip
    option(
        "--image", type=int, metavar="INDEX",
        help="start from the code of this test image (from z = 0, the middle of the prior)",
    )  # fmt: skip
    option("--range", type=positive(float), default=3.0, metavar="R", help="from -R to R (3)")
    option("--steps", type=positive(int), default=11, metavar="N", help="images in a row (11)")
    skips_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """A row for each dimension, the most active one first."""
    if args.steps < 2:
        raise ValueError(f"--steps: expected at least 2, got {args.steps}")
    run = open_to_draw(args)
    model = run.model
    dimensions = checked_dimensions(run, args.dimensions) or active_dimensions(run)
    skips_from = skips_for(run, args.skips_from)
    index, base = {}, np.zeros(model.latent_shape, model.dtype)
    if args.image is not None:
        index = {"test_indices": np.array([args.image])}
        base = posterior_codes(model, images_at(run, [args.image], "--image"))[0]
    values = np.linspace(-args.range, args.range, args.steps)
    z = traversal(base, dimensions, values)
    images = decoded(model, z.reshape(-1, *model.latent_shape), skips_from)
    images = images.reshape(*z.shape[:2], *images.shape[1:])

    def draw(path: Path) -> None:
        from .. import plots  # here: matplotlib takes a second to import

        rows, columns = [f"z[{d}]" for d in dimensions], [f"{v:.2g}" for v in values]
        plots.image_table(images, path, rows, columns, model.data_range)

    return deliver(
        args, run, draw, z=z, images=images, values=values, dimensions=np.array(dimensions), **index
    )


def checked_dimensions(run: Run, dimensions: list[int] | None) -> list[int] | None:
    """They, if the model has all of them."""
    count = prod(run.model.latent_shape)
    for dimension in dimensions or []:
        if not 0 <= dimension < count:
            raise ValueError(f"--dimensions: expected 0 to {count - 1}, got {dimension}")
    return dimensions


def active_dimensions(run: Run) -> list[int]:
    """Those whose code varies most over test images."""
    x = as_floats(run, run.test_images()[:LOOKED_AT])
    return most_active(posterior_codes(run.model, x), AT_MOST)
