"""`scratchvae encode RUN --out FILE.npz`: the codes of images, for work elsewhere."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any, cast

import numpy as np

from ..evaluation.metrics import codes
from ..models import VAE
from ..output import whole_file
from .evaluate import image_names, part_option, parts_of, written
from .options import add_command, open_for, option, path, run_options, show
from .pictures import codes_of


def add(commands: Any) -> None:
    parser = add_command(
        commands, "encode", run, "write the codes of images to a file",
        ": mu and logvar of q(z|x), or the codes z of an autoencoder. The file also has the names "
        "of the images, their labels, the names of the classes (if there are any), and the part of "
        "the data set. Load it with numpy.load.",
        "scratchvae encode runs/digits --out codes.npz",
        "scratchvae encode runs/digits --part test --out codes.npz",
        "scratchvae encode runs/faces --data images:photographs --out codes.npz",
    )  # fmt: skip
    run_options(parser)
    part_option(parser, "all")
    option(
        parser, "--out FILE.npz", partial(path, suffix=".npz"), "file for the arrays", required=True
    )


def run(args: argparse.Namespace) -> int:
    run = open_for(args, args.out)
    parts, model = parts_of(run, args.part), run.model
    arrays: dict[str, np.ndarray] = {}
    if isinstance(model, VAE):
        both = zip(*(codes(model, part.images) for part in parts), strict=True)
        arrays["mu"], arrays["logvar"] = (np.concatenate(a).astype(model.dtype) for a in both)
    else:
        arrays["z"] = np.concatenate([codes_of(run, part.images) for part in parts])
    if any(part.names is not None for part in parts):
        arrays["names"] = np.array([name for part in parts for name in image_names(part)])
    if any(part.labels is not None for part in parts):
        labels = [np.full(len(p.images), -1) if p.labels is None else p.labels for p in parts]
        arrays["labels"] = np.concatenate(labels)
    if (classes := run.load_data().classes) is not None:
        arrays["classes"] = np.array([written(name) for name in classes])
    arrays["part"] = np.repeat([part.part for part in parts], [len(part.images) for part in parts])
    with whole_file(args.out) as file:
        np.savez(file, **cast(dict[str, Any], arrays))
    args.saved = True
    shapes = {name: array.shape for name, array in arrays.items()}
    text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    show(args, {"file": args.out, "shapes": shapes}, f"{args.out}: {text}")
    return 0
