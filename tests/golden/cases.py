"""The cases of the golden values, for make.py and test_golden.py: inputs, options, weights.

All numbers come from `numbers`, a formula of name and index in integer arithmetic, which gives the
same bits on every machine and in every version of NumPy; random generators do not guarantee that.
"""

from math import prod, sqrt
from typing import NamedTuple
from zlib import crc32

import numpy as np

from scratchvae.ops import CASES as EXAMPLES


def numbers(name, shape, low=-1.0, high=1.0):
    """An array of numbers from low up to high that looks random: the generator splitmix64 of
    Steele, Lea & Flood, "Fast splittable pseudorandom number generators" (2014), started at `name`.
    """
    bits = np.arange(prod(shape), dtype="uint64")
    bits += crc32(name.encode()) << 32  # so that sequences of different names do not overlap
    bits *= 0x9E3779B97F4A7C15  # products keep their lower 64 bits
    bits ^= bits >> 30
    bits *= 0xBF58476D1CE4E5B9
    bits ^= bits >> 27
    bits *= 0x94D049BB133111EB
    bits ^= bits >> 31
    return (low + (high - low) * ((bits >> 11) * 2.0**-53)).reshape(shape)


# --- Ops -----------------------------------------------------------------------------------------

RANGES = {"target": (0, 1), "running_var": (0.5, 2)}  # otherwise -2 to 2
CONSTANT = {"target", "eps", "running_mean", "running_var"}  # inputs without a gradient


class Op(NamedTuple):
    """The call op(*inputs.values(), *options, **named)."""

    op: str
    inputs: dict[str, np.ndarray | None]
    options: tuple = ()
    named: dict[str, object] = {}  # noqa: RUF012  (never changed)


def _op(case, *options, **inputs):
    """A case and its name; inputs are given as shapes, or as arrays if the numbers matter."""
    for name, given in inputs.items():
        if isinstance(given, tuple):
            inputs[name] = numbers(f"{case} {name}", given, *RANGES.get(name, (-2, 2)))
    return case, Op(case.partition(":")[0], inputs, options)


def _example(op, example):
    """The case of an op that has none below: its own example, with numbers from `numbers`."""
    case, opened = _op(f"{op}: example", **example.shapes)
    return case, opened._replace(named=example.options)


def output_gradient(case, shape):
    """dy for an op."""
    return numbers(f"{case} dy", shape)


FAR_OUT = np.array([[-800.0, -40.0, -1.0, 0.0], [0.5, 3.0, 40.0, 800.0]])
WITH_ZEROS = np.array([[-1.5, 0.0, 2.0], [0.0, -0.25, 1e-3]])
CHANNELS = {name: (3,) for name in ("running_mean", "running_var", "w", "b")}
ONE_CHANNEL = dict.fromkeys(CHANNELS, (1,))

# Sizes are odd, and height and width always differ, so that swapping the two is noticed.
OPS = dict(
    [
        # 17 channels: more than a tile of two vectors holds, in float64 and with AVX-512, too.
        _op("conv2d: odd sizes", (1, 3), (2, 1), x=(3, 2, 8, 5), w=(17, 2, 2, 4), b=(17,)),
        _op("conv2d: one image, one channel", 1, 1, x=(1, 1, 5, 3), w=(1, 1, 3, 2), b=(1,)),
        _op("conv2d: no bias, rows left over", (3, 2), 0, x=(2, 3, 6, 7), w=(2, 3, 2, 3), b=None),
        _op(
            "conv_transpose2d: odd sizes", (3, 2), (1, 2), (2, 1),
            x=(2, 3, 4, 5), w=(3, 2, 3, 4), b=(2,),
        ),
        _op(
            "conv_transpose2d: one image, one channel", 1, 0, 0,
            x=(1, 1, 3, 4), w=(1, 1, 2, 3), b=(1,),
        ),
        _op(
            "conv_transpose2d: no bias, gaps", (2, 3), 0, (1, 2),
            x=(3, 2, 2, 3), w=(2, 4, 1, 2), b=None,
        ),
        _op("linear: odd sizes", x=(3, 7), w=(5, 7), b=(5,)),
        _op("linear: one of everything", x=(1, 1), w=(1, 1), b=(1,)),
        _op("linear: no bias", x=(4, 3), w=(2, 3), b=None),
        _op("conv2d: many channels", 2, 1, x=(2, 6, 7, 5), w=(5, 6, 3, 4), b=(5,)),
        _op("conv_transpose2d: many channels", 2, 1, 1, x=(2, 5, 3, 4), w=(5, 6, 3, 4), b=(6,)),
        _op("batch_norm_leaky_relu: training", True, 0.1, 1e-5, 0.2, x=(4, 3, 5, 2), **CHANNELS),
        _op("batch_norm: training", True, 0.1, 1e-5, x=(4, 3, 5, 2), **CHANNELS),
        _op("batch_norm: training without images", True, 0.3, 1e-3, x=(5, 3), **CHANNELS),
        _op("batch_norm: training with one image", True, 0.2, 1e-5, x=(1, 1, 3, 2), **ONE_CHANNEL),
        _op("batch_norm: evaluation", False, 0.1, 1e-3, x=(2, 3, 3, 5), **CHANNELS),
        _op("batch_norm: evaluation of one image", False, 0.1, 1e-5, x=(1, 3, 1, 1), **CHANNELS),
        _op("max_pool2d: overlap", 3, 2, 1, x=(2, 3, 7, 6)),
        _op("max_pool2d: odd sizes", (2, 4), (1, 3), (1, 2), x=(1, 1, 5, 7)),
        _op("max_pool2d: ties", 2, 1, 1, x=np.floor(numbers("ties", (2, 2, 5, 4), 0, 3))),
        _op("avg_pool2d: overlap", 3, 2, 1, x=(2, 3, 7, 6)),
        _op("avg_pool2d: odd sizes", (2, 4), (1, 3), (1, 2), x=(1, 1, 5, 7)),
        _op("avg_pool2d: stride by default", (3, 2), x=(2, 2, 7, 5)),
        _op("adaptive_avg_pool2d: overlap", (4, 3), x=(2, 3, 7, 5)),
        _op("adaptive_avg_pool2d: everything", 1, x=(1, 1, 5, 3)),
        _op("adaptive_avg_pool2d: more than there is", (5, 2), x=(1, 2, 3, 4)),
        _op("upsample_nearest: odd sizes", (3, 2), x=(2, 3, 2, 5)),
        _op("upsample_nearest: one image, one channel", 2, x=(1, 1, 3, 1)),
        _op("relu: images", x=(2, 3, 3, 5)),
        _op("relu: zeros", x=WITH_ZEROS),
        _op("leaky_relu: images", 0.2, x=(2, 3, 3, 5)),
        _op("leaky_relu: zeros", 0.01, x=WITH_ZEROS),
        _op("sigmoid: one row", x=(1, 7)),
        _op("sigmoid: far out", x=FAR_OUT),
        _op("tanh: one row", x=(1, 7)),
        _op("tanh: far out", x=FAR_OUT),
        _op("bce: images", logits=(3, 2, 3, 5), target=(3, 2, 3, 5)),
        _op("bce: one pixel", logits=(1, 1), target=(1, 1)),
        _op("bce: far out", logits=FAR_OUT, target=(2, 4)),
        _op("mse: mean", "mean", prediction=(3, 2, 3, 5), target=(3, 2, 3, 5)),
        _op("mse: sum", "sum", prediction=(3, 2, 3, 5), target=(3, 2, 3, 5)),
        _op("mse: one image", "mean", prediction=(1, 7), target=(1, 7)),
        _op("kl: codes", mu=(3, 7), logvar=(3, 7)),
        _op("kl: maps", mu=(1, 2, 3, 1), logvar=(1, 2, 3, 1)),
        _op("kl: one number for each image", mu=(5,), logvar=(5,)),
        _op("kl_free_bits: codes", 1.2, mu=(3, 7), logvar=(3, 7)),
        _op("kl_free_bits: maps", 0.7, mu=(2, 2, 3, 1), logvar=(2, 2, 3, 1)),
        _op("kl_free_bits: one number for each image", 0.5, mu=(5,), logvar=(5,)),
        _op("kl_free_bits: all free", 3.0, mu=(4, 2), logvar=(4, 2)),
        _op("reparameterize: codes", mu=(3, 7), logvar=(3, 7), eps=(3, 7)),
        _op("reparameterize: one number", mu=(1, 1), logvar=(1, 1), eps=(1, 1)),
        _op("mean_logvar: images", 1e-6, x=(3, 2, 3, 5)),
        _op("mean_logvar: one image, large eps", 0.5, x=(1, 7)),
        _op("elbo: weighted", 0.25, reconstruction=(5,), kl=(5,)),
        _op("elbo: one image", 1.0, reconstruction=(1,), kl=(1,)),
    ]
)  # fmt: skip
OPS |= dict(
    _example(op, examples[0])
    for op, examples in EXAMPLES.items()
    if op not in {case.op for case in OPS.values()}
)


# --- Models --------------------------------------------------------------------------------------


class Model(NamedTuple):
    """A model, its options and its mode; a batch of images from `low` to 1, and the noise."""

    model: str
    x: tuple[int, ...]
    eps: tuple[int, ...]
    low: float = 0.0
    options: dict[str, str] = {}  # noqa: RUF012  (never changed)
    training: bool = True


MODELS = {
    "mlp": Model("mlp", (3, 1, 28, 28), (3, 20)),
    "conv": Model("conv", (3, 1, 28, 28), (3, 20)),
    "tiny": Model("tiny", (3, 1, 28, 28), (3, 20)),
    "celeba": Model("celeba", (2, 3, 64, 64), (2, 128), low=-1.0),
    "celeba: evaluation": Model("celeba", (1, 3, 64, 64), (1, 128), low=-1.0, training=False),
    "skip": Model("skip", (1, 3, 64, 64), (1, 256, 1, 1)),
    "skip: learned": Model("skip", (1, 3, 64, 64), (1, 256, 1, 1), options={"latent": "learned"}),
    "ae": Model("ae", (3, 1, 28, 28), (3, 20)),
}


def batch(case):
    """x and eps; the noise has variance 1."""
    model = MODELS[case]
    return (
        numbers(f"{case} x", model.x, model.low, 1.0),
        numbers(f"{case} eps", model.eps, -sqrt(3), sqrt(3)),
    )


def weight(name, shape):
    """The parameter or buffer of this name. Matrices and kernels have variance 1 / fan_in."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, "int64")
    if name.endswith("running_var"):
        return numbers(name, shape, 0.5, 2.0)
    if name.endswith(("bias", "running_mean")):
        return numbers(name, shape, -0.3, 0.3)
    if len(shape) == 1:  # in a batch norm
        return numbers(name, shape, 0.7, 1.3)
    bound = sqrt(3 / prod(shape[1:]))
    return numbers(name, shape, -bound, bound)


# --- Optimizers ----------------------------------------------------------------------------------

SHAPES = {"weight": (3, 5), "bias": (5,)}  # of the parameters: 20 values
STEPS = 5
OPTIMIZERS = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD: momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "SGD: nesterov": ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    "SGD: weight decay": ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "SGD: all": (
        "SGD",
        {"lr": 0.1, "momentum": 0.7, "nesterov": True, "weight_decay": 0.2},
    ),
    "Adam": ("Adam", {}),
    "Adam: betas": ("Adam", {"lr": 0.1, "betas": (0.6, 0.8)}),
    "Adam: large eps": ("Adam", {"lr": 0.1, "eps": 0.1}),
    "Adam: weight decay": ("Adam", {"lr": 0.1, "weight_decay": 0.3}),
    "AdamW": ("AdamW", {}),
    "AdamW: weight decay": (
        "AdamW",
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.3},
    ),
}
CLIPPING = {"clip_grad_norm: above": 0.5, "clip_grad_norm: below": 50.0}  # max_norm


def start():
    """The 20 values before the first step."""
    return numbers("start", (20,))


def gradient(step):
    """Magnitudes from 1 to 2^-16, so that a misplaced eps is noticed; one is zero at every step."""
    g = np.ldexp(numbers(f"gradient {step}", (20,)), -4 * (np.arange(20) % 5))
    g[7] = 0
    return g
