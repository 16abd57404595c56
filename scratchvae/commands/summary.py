"""`scratchvae summary MODEL`: a model's layers, outputs, parameters and memory."""

from __future__ import annotations

import argparse
from typing import Any

from ..models import MODELS, build
from ..models.inspect import megabytes, rows, summary
from .options import add_command, show


def add(commands: Any) -> None:
    parser = add_command(
        commands, "summary", run, "show a model's layers, their outputs, parameters and memory",
        ".",
        "scratchvae summary celeba --latent-dim 64 --image-shape 3 128 128",
    )  # fmt: skip
    option = parser.add_argument
    option("model", choices=tuple(MODELS), metavar="MODEL", help=", ".join(MODELS))
    option("--latent-dim", type=int, metavar="N", help="number of latent dimensions")
    option(
        "--image-shape", type=int, nargs=3, metavar=("C", "H", "W"), help="channels, height, width"
    )
    option("--skips", metavar="all|deep|none", help="model skip: which skips (default: all)")
    option(
        "--latent", metavar="scalar|learned",
        help="model skip: mu and logvar per image, or per dimension (default: scalar)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    names = ("latent_dim", "image_shape", "skips", "latent")
    options = {n: getattr(args, n) for n in names if getattr(args, n) is not None}
    model = build(args.model, **options)
    layers = rows(model)
    result = {
        "model": args.model,
        "image_shape": model.image_shape,
        "layers": [layer._asdict() for layer in layers],
        "parameters": sum(layer.parameters for layer in layers),
        "megabytes": megabytes(model, layers),
    }
    show(args, result, summary(model))
    return 0
