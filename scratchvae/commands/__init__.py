"""The commands of `scratchvae`: in each module `add` declares them and `run` does them.

`pictures` has the five commands that draw: `reconstruct`, `sample`, `interpolate`, `traverse` and
`manifold`. Every other command has a module of its name.
"""

from . import bench, check, data, evaluate, kernels, pictures, summary, train

COMMANDS = (train, evaluate, pictures, data, summary, kernels, check, bench)  # as in --help
