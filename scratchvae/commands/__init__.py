"""The commands of `scratchvae`, one file each: `add` gives a command its parser, `run` does it."""

from . import check, kernels, summary

COMMANDS = (kernels, summary, check)
