"""What the commands that draw share: their options, test images, and where results go."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data import batches
from ..output import whole_file
from ..runs import Run, RunFolder
from .options import json_option, print_json, say
from .run_options import check_place, open_for, run_options

NO_SKIPS = (
    "no skips are added, as if the decoder had been trained without them: --skips-from INDEX takes "
    "those of a test image"
)


def add_command(commands: Any, name: str, what: str, description: str, epilog: str) -> Any:
    """A parser with the options that all of these commands have."""
    parser = commands.add_parser(name, help=what, description=description, epilog=epilog)
    run_options(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--out", type=Path, metavar="FILE.png", help=f"the picture (RUN/pictures/{name}.png)"
    )
    where.add_argument(
        "--npz", type=Path, metavar="FILE.npz", help="write the arrays, and draw no picture"
    )
    json_option(parser)
    parser.set_defaults(command=name)
    return parser


def skips_option(parser: Any) -> None:
    """Add --skips-from."""
    parser.add_argument(
        "--skips-from", type=int, metavar="INDEX",
        help="skip: the test image that lends its skips (none are added)",
    )  # fmt: skip


# --- What is shown -------------------------------------------------------------------------------


def open_to_draw(args: argparse.Namespace) -> Run:
    """The run, once it is sure that there is a place for what will be made of it."""
    for path, suffix in ((args.out, ".png"), (args.npz, ".npz")):
        if path is not None and path.suffix.lower() != suffix:
            raise ValueError(f"{path}: expected a name that ends in {suffix}")
        if path is not None:
            check_place(path, args.folder)
    return open_for(args)


def images_at(run: Run, indices: Sequence[int], option: str) -> np.ndarray:
    """These images of the test set as the model takes them: (N, C, H, W), on the host."""
    images = run.test_images()
    for index in indices:
        if not 0 <= index < len(images):
            raise ValueError(f"{option}: expected indices from 0 to {len(images) - 1}, got {index}")
    return as_floats(run, images[list(indices)])


def as_floats(run: Run, images: np.ndarray) -> np.ndarray:
    """uint8 -> the model's dtype, in its data_range: (N, C, H, W)."""
    model = run.model
    return next(batches(images, len(images), data_range=model.data_range, dtype=model.dtype))


def skips_for(run: Run, index: int | None) -> np.ndarray | None:
    """The image that lends its skips, if one does; says where skips come from."""
    if not run.model.has_skips:
        if index is not None:
            raise ValueError(f"--skips-from: this model, {run.config.model}, has no skips")
        return None
    if index is None:
        say(NO_SKIPS)
        return None
    say(f"all skips are those of test image {index}")
    return images_at(run, [index], "--skips-from")


# --- What is left --------------------------------------------------------------------------------


def deliver(
    args: argparse.Namespace,
    run: Run,
    draw: Callable[[Path], list[Path] | None],
    **arrays: np.ndarray,
) -> int:
    """Write the arrays if they are asked for, or else the picture; print where.

    Parameters
    ----------
    draw : callable
        Writes the picture to a path, and returns the paths of others beside it, if there are any.
    **arrays
        What --npz writes, beside the data_range of its `images`.
    """
    also = None
    if args.npz:
        path = args.npz
        arrays["data_range"] = np.array(run.model.data_range)
        with whole_file(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes it for a flag
    else:
        path = picture_path(args)
        also = draw(path)
    if args.json:
        others = {"also": also} if also else {}
        print_json({"file": path, "shape": arrays["images"].shape, **others})
    else:
        print(*[path, *(also or [])], sep="\n")
    return 0


def picture_path(args: argparse.Namespace) -> Path:
    """Where the picture goes; of the run's own folder of pictures, it is made sure that it is."""
    if args.out is not None:
        return Path(args.out)
    pictures = RunFolder(args.folder).pictures
    pictures.mkdir(exist_ok=True)
    return pictures / f"{args.command}.png"
