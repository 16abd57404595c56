"""The commands of `scratchvae`, one file each: `add` gives a command its parser, `run` does it."""

from . import bench, check, kernels, summary, train

COMMANDS = (train, kernels, summary, check, bench)
