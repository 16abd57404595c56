"""`scratchvae reconstruct RUN`: images over what a trained model makes of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from ..data.decode import decode_or_reason
from ..evaluation.latents import decoded, posterior_codes
from ..runs import Run
from .options import at_least_zero, numbers, positive
from .pictures import add_command, as_floats, deliver, images_at, open_to_draw

LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
SHOWN = 8  # images, if nobody says how many
EPILOG = """\
examples:
  scratchvae reconstruct runs/digits
  scratchvae reconstruct runs/digits --images 3,14,15 --sampled
  scratchvae reconstruct runs/faces --files me.jpg you.png
"""


def add(commands: Any) -> None:
    """Add the parser."""
    parser = add_command(
        commands, "reconstruct", "draw images over their reconstructions",
        "Draw test images, or images of yours, over their reconstructions by a trained model.",
        EPILOG,
    )  # fmt: skip
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--count", type=positive(int), metavar="N", help="the first N test images (8)"
    )
    which.add_argument(
        "--images", type=numbers, metavar="I,I,...", help="test images by index, counted from 0"
    )
    which.add_argument(
        "--files", nargs="+", metavar="FILE",
        help="JPEG and PNG files: their middle square, in grey where the model knows no colours "
        "(models of digits expect white on black)",
    )  # fmt: skip
    parser.add_argument("--sampled", action="store_true", help="draw z ~ q(z|x), not z = mu")
    parser.add_argument("--seed", type=at_least_zero(int), default=0, metavar="N", help="of z (0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Two rows: the images, and under each its reconstruction."""
    run = open_to_draw(args)
    if args.files:
        x = as_floats(run, read_files(run, args.files))
        labels, index = [f"file {i + 1}" for i in range(len(x))], {}
    else:
        option, chosen = "--images", args.images
        if chosen is None:
            option, chosen = "--count", range(args.count or min(SHOWN, len(run.test_images())))
        x = images_at(run, chosen, option)
        labels, index = [f"test {i}" for i in chosen], {"test_indices": np.array(chosen)}
    rng = np.random.default_rng(args.seed) if args.sampled else None
    z = posterior_codes(run.model, x, rng)
    images = decoded(run.model, z, x if run.model.has_skips else None)
    rows = ["image", "z drawn" if args.sampled else "z = mu"]

    def draw(path: Path) -> None:
        from .. import plots  # here: matplotlib takes a second to import

        plots.image_table(np.stack([x, images]), path, rows, labels, run.model.data_range)

    return deliver(args, run, draw, originals=x, z=z, images=images, **index)


def read_files(run: Run, files: list[str]) -> np.ndarray:
    """Images of the user's in the model's shape: uint8 (N, C, H, W)."""
    C, H, W = run.model.image_shape
    if H != W:
        raise ValueError(f"--files: makes squares, but this model has images of {H} x {W}")
    found = []
    for path in files:
        pixels = decode_or_reason(path, H, crop=None)
        if isinstance(pixels, str):
            raise ValueError(f"{path}: {pixels}")
        if C == 1:
            pixels = np.rint(np.tensordot(LUMA, pixels, axes=1))[None].astype("uint8")
        found.append(pixels)
    return np.stack(found)
