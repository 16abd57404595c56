"""`scratchvae manifold RUN`: the whole latent space, where it is a plane."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.latents import decoded, plane, posterior_codes
from ..runs import Run
from .options import positive
from .pictures import add_command, as_floats, deliver, open_to_draw

AT_MOST = 10_000  # codes in the second picture
EPILOG = """\
examples:
  scratchvae train conv --latent-dim 2 --out runs/plane
  scratchvae manifold runs/plane
"""


def add(commands: Any) -> None:
    """Add the parser."""
    parser = add_command(
        commands, "manifold", "draw the latent plane of a model with two latent dimensions",
        "Draw the latent plane of a model with two latent dimensions, decoded at the quantiles of "
        "N(0, I): z[0] grows to the right, z[1] upwards. If the data set has classes, a second "
        "picture, NAME-codes.png, shows where the test images lie.", EPILOG,
    )  # fmt: skip
    parser.add_argument(
        "--size", type=positive(int), default=20, metavar="N", help="N x N images (20)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The plane, and the test set on it."""
    run = open_to_draw(args)
    model = run.model
    if model.latent_shape != (2,):
        advice = (
            "this model has no other" if run.config.model == "skip"
            else f"train one: scratchvae train {run.config.model} --latent-dim 2"
        )  # fmt: skip
        raise ValueError(
            f"{args.folder}: a plane needs two latent dimensions, and this model's codes have "
            f"shape {model.latent_shape}; {advice}"
        )
    z = plane(args.size, model.dtype)
    images = decoded(model, z)
    codes, labels = labelled_codes(run)
    known = {"codes": codes, "labels": labels} if labels is not None else {}

    def draw(path: Path) -> list[Path]:
        from .. import plots  # here: matplotlib takes a second to import

        plots.image_grid(images, path, args.size, model.data_range, zoom=2, gap=0)
        if labels is None:
            return []
        second = path.with_name(f"{path.stem}-codes.png")
        title = f"codes (mu) of {len(codes):,} test images, {run.config.data}"
        plots.code_scatter(codes, labels, second, title)
        return [second]

    return deliver(args, run, draw, z=z, images=images, **known)


def labelled_codes(run: Run) -> tuple[np.ndarray, np.ndarray | None]:
    """The codes of the test images, at most 10,000, and their classes, if they have any."""
    labels = run.load_data().test_labels
    if labels is None:
        return np.empty((0, 2)), None
    x = as_floats(run, run.test_images()[:AT_MOST])
    return posterior_codes(run.model, x), labels[:AT_MOST]
