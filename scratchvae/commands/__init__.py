"""The commands of `scratchvae`, one file each: `add` gives a command its parser, `run` does it."""

from . import bench, check, data, kernels, summary, train

COMMANDS = (train, data, summary, kernels, check, bench)
