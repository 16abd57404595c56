"""Runs of every op that has CUDA kernels, forward and backward: what the checkers in races.cpp and
AddressSanitizer look at. Results are not looked at here.

    python -m on_host.runs             run them all, in both dtypes (PYTHONPATH=tests)
"""

import numpy as np

import scratchvae as sv
from scratchvae import ops
from scratchvae.gradcheck.cases import CASES, Case
from scratchvae.kernels import cuda

# Odd sizes, beyond one block, one tile and one step over a tile's depth.
LARGER = {
    "conv2d": [
        Case(
            {"x": (3, 5, 11, 9), "w": (O, 5, 3, 3), "b": (O,)},
            {"stride": (2, 1), "padding": 1},
        )
        for O in (18, 67)
    ],
    "conv_transpose2d": [
        Case(
            {"x": (3, 5, 7, 6), "w": (5, O, 4, 3), "b": (O,)},
            {"stride": (2, 1), "padding": 1},
        )
        for O in (18, 67)
    ],
    "linear": [Case({"x": (37, 71), "w": (70, 71), "b": (70,)})],
    "batch_norm": [
        Case(
            {"x": (5, 7, 9, 11), **dict.fromkeys(("running_mean", "running_var", "w", "b"), (7,))},
            {"training": True},
            draw=CASES["batch_norm"][0].draw,
        )
    ],
}
SIZES = {(3, 4): (23, 31), (3, 2, 4): (7, 11, 13), (2, 3, 6, 5): (3, 5, 17, 13)}


def cases(op):
    """The cases of gradcheck/cases.py, and larger ones."""
    larger = LARGER.get(op.removesuffix("_leaky_relu"), [])
    if op.endswith("_leaky_relu"):
        slope = {"negative_slope": 0.2}
        larger = [Case(c.shapes, {**c.options, **slope}, draw=c.draw) for c in larger]
    elif not larger:
        larger = [
            Case({n: SIZES.get(s, s) for n, s in c.shapes.items()}, c.options, draw=c.draw)
            for c in CASES[op]
        ]
    return [*CASES[op], *larger]


def accelerated():
    """The ops that have CUDA kernels."""
    return [op for op in CASES if (cuda.FOLDER / f"{op}.py").exists()]


def run(op, case, dtype):
    """Forward and backward, with an output gradient drawn at random."""
    arrays = {n: sv.asarray(a.astype(dtype)) for n, a in case.arrays(seed=1).items()}
    y, cache, *_ = getattr(ops, f"{op}_forward")(**arrays, **case.options)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
    getattr(ops, f"{op}_backward")(sv.asarray(dy), cache)


def run_all(dtype):
    for op in accelerated():
        for case in cases(op):
            run(op, case, dtype)
