"""The commands of `scratchvae`, one file each: `add` gives a command its parser, `run` does it."""

from . import (
    bench,
    check,
    data,
    evaluate,
    interpolate,
    kernels,
    manifold,
    reconstruct,
    sample,
    summary,
    train,
    traverse,
)

COMMANDS = (
    train, evaluate, reconstruct, sample, interpolate, traverse, manifold,
    data, summary, kernels, check, bench,
)  # fmt: skip
