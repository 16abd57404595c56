"""Runs every CUDA kernel for the race checker and AddressSanitizer; other tests check the results.
Ops are found by name, other kernels are listed in OTHERS."""

import functools

import numpy as np

import scratchvae as sv
from scratchvae import ops, optim
from scratchvae.gpu import graph, philox
from scratchvae.kernels import cuda
from scratchvae.ops import CASES
from scratchvae.ops.cases import Case

# Odd sizes, beyond one block, one tile and one step over a tile's depth.
LARGER = {
    "conv2d": [
        Case({"x": (3, 5, 11, 9), "w": (O, 5, 3, 3), "b": (O,)}, {"stride": (2, 1), "padding": 1})
        for O in (18, 67)
    ],
    "conv_transpose2d": [
        Case({"x": (3, 5, 7, 6), "w": (5, O, 4, 3), "b": (O,)}, {"stride": (2, 1), "padding": 1})
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
    "kl_free_bits": [
        Case(
            {"mu": (35, 70), "logvar": (35, 70)},
            {"free_bits": 0.3},
            draw=CASES["kl_free_bits"][0].draw,
        )
    ],
}
SIZES = {(3, 4): (23, 31), (3, 2, 4): (7, 11, 13), (2, 3, 6, 5): (3, 5, 17, 13)}


def cases(op):
    """The example cases of the ops, and larger ones."""
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


def _forward_backward(op, case, dtype):
    """Forward, then backward with a random output gradient."""
    arrays = {n: sv.asarray(a.astype(dtype)) for n, a in case.arrays(seed=1).items()}
    y, cache, *_ = getattr(ops, f"{op}_forward")(**arrays, **case.options)
    dy = 1.0
    if op != "elbo":
        dy = sv.asarray(np.random.default_rng(2).standard_normal(y.shape).astype(dtype))
    getattr(ops, f"{op}_backward")(dy, cache)


def _on_device(number, dtype):
    return sv.asarray(np.array([number], dtype))


def _optimizers(dtype):
    value, grad, m, v = (sv.asarray(np.linspace(0.1, 1, 700, dtype=dtype)) for _ in range(4))
    for lr, step in ((0.1, 3), (_on_device(0.1, "float64"), _on_device(3, "int64"))):
        optim.sgd_step(value, grad, m, lr, 0.9, 0.01, True)
        for decoupled in (False, True):
            optim.adam_step(value, grad, m, v, step, lr, 0.9, 0.999, 1e-8, 0.01, decoupled)
    optim.clip_to_norm(grad, 1.0)


def _noise(dtype):
    for step in (5, _on_device(5, "int64")):
        philox.fill_words(sv.asarray(np.zeros((300, 4), "uint32")), 1, step)
        for count in (1, 1999):
            philox.fill_normal(sv.asarray(np.zeros(count, dtype)), 1, step)


def _moving_beta(dtype):
    losses = (sv.asarray(np.ones(300, dtype)) for _ in range(2))
    _, cache = ops.elbo_forward(*losses, _on_device(2.0, "float64")[0])
    ops.elbo_backward(1.0, cache)


def _bookkeeping(dtype):
    losses = (_on_device(number, dtype)[0] for number in (3.0, 2.0, 1.0))
    sums, bad_step = sv.asarray(np.zeros(4)), _on_device(0, "int64")
    graph.record(*losses, sums, bad_step, _on_device(5, "int64"), 16)


OTHERS = {
    "bookkeeping": _bookkeeping,
    "optimizers": _optimizers,
    "noise": _noise,
    "moving beta": _moving_beta,
}
NAMES = [op for op in CASES if (cuda.FOLDER / f"{op}.py").exists()] + [*OTHERS]


def runs(name):
    """The runs of an op or of another kernel, as functions of the dtype."""
    if name in OTHERS:
        return [OTHERS[name]]
    return [functools.partial(_forward_backward, name, case) for case in cases(name)]
