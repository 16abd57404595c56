"""`scratchvae summary MODEL`: a model's layers, outputs, parameters and memory."""

from __future__ import annotations

import argparse
from typing import Any

from ..models import MODELS, build
from ..models.inspect import megabytes, rows, summary
from .options import add_command, config_option, option, show


def add(commands: Any) -> None:
    parser = add_command(
        commands, "summary", run, "show a model's layers, their outputs, parameters and memory",
        ".",
        "scratchvae summary celeba --latent-dim 64 --image-shape 3 128 128",
    )  # fmt: skip
    option(parser, "model MODEL", tuple(MODELS), ", ".join(MODELS))
    config_option(parser, "latent_dim")
    shape = {"nargs": 3, "metavar": ("C", "H", "W")}
    option(parser, "--image-shape", int, "channels, height, width", **shape)
    config_option(parser, "skips")
    config_option(parser, "latent")


def run(args: argparse.Namespace) -> int:
    names = ("latent_dim", "image_shape", "skips", "latent")
    model = build(args.model, **{n: v for n in names if (v := getattr(args, n)) is not None})
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
