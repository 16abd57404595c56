"""The commands of `scratchvae`: in each module `add` declares the parsers and `run` runs them.

`pictures` has `reconstruct`, `sample`, `interpolate`, `traverse` and `manifold`.
"""

from . import (
    bench,
    check,
    data,
    encode,
    evaluate,
    exercise,
    kernels,
    pictures,
    summary,
    train,
    xray,
)
from .options import CommandParser, show

__all__ = ["COMMANDS", "CommandParser", "show"]

COMMANDS = (  # as in --help
    train, evaluate, encode, pictures, data, summary, xray, exercise, check, kernels, bench,
)  # fmt: skip
