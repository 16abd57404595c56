"""Arguments of the functions that are no ops, and the models, with which exercises are tried; and
changes of arguments."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Call(NamedTuple):
    """Arguments of a function by name. Arrays may be changed in place: those are results, too."""

    where: str
    arguments: dict[str, Any]


def calls(function: str) -> list[Call]:
    """What `function` is called with, the plainest arguments first."""
    rng = np.random.default_rng(0)
    value, grad, m = rng.standard_normal((3, 4, 5))
    v = rng.random((4, 5))
    if function == "sgd_step":
        plain = {"value": value, "grad": grad, "velocity": m, "lr": 0.1, "momentum": 0.9,
                 "weight_decay": 0.0, "nesterov": False}  # fmt: skip
        return [
            Call("", plain),
            Call("with weight_decay=0.3", plain | {"weight_decay": 0.3}),
            Call("with momentum=0.0", plain | {"momentum": 0.0}),
            Call("with nesterov=True", plain | {"nesterov": True, "weight_decay": 0.3}),
        ]
    if function == "adam_step":
        plain = {"value": value, "grad": grad, "m": m, "v": v, "step": 3, "lr": 0.1, "beta1": 0.9,
                 "beta2": 0.99, "eps": 1e-2, "weight_decay": 0.0, "decoupled": False}  # fmt: skip
        return [
            Call("", plain),
            Call("with weight_decay=0.3", plain | {"weight_decay": 0.3}),
            Call("with decoupled=True", plain | {"weight_decay": 0.3, "decoupled": True}),
        ]
    if function == "clip_to_norm":
        return [
            Call("for a norm above max_norm", {"grad": 3 * grad, "max_norm": 2.0}),
            Call("for a norm below max_norm", {"grad": grad / 100, "max_norm": 2.0}),
            Call("for numbers whose squares overflow", {"grad": 1e200 * grad, "max_norm": 2.0}),
            Call("for numbers whose squares underflow", {"grad": 1e-200 * grad, "max_norm": 2.0}),
            Call("for zeros", {"grad": 0 * grad, "max_norm": 2.0}),
            Call("with an infinity", {"grad": np.where(v < 0.1, np.inf, grad), "max_norm": 2.0}),
        ]
    cells = rng.standard_normal((2, 3, 4, 3, 3, 2))  # (N, C, OH, OW, KH, KW)
    return [
        Call("", {"cells": cells, "image_size": (6, 4), "stride": (1, 1)}),
        Call("with stride=(2, 1)", {"cells": cells, "image_size": (9, 4), "stride": (2, 1)}),
        Call("with stride=(3, 2)", {"cells": cells, "image_size": (13, 7), "stride": (3, 2)}),
    ]


MODELS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "mlp": [("", {"image_shape": (1, 2, 3), "latent_dim": 3, "kl_weight": 2.5})],
    "skip": [  # with a larger kl_weight, the gradient through z would only be rounding
        ("", {"image_shape": (1, 64, 64), "kl_weight": 1e-8}),
        ('with skips="none"', {"image_shape": (1, 64, 64), "kl_weight": 1e-8, "skips": "none"}),
        ('with latent="learned"',
         {"image_shape": (1, 64, 64), "kl_weight": 1e-8, "latent": "learned"}),
    ],
}  # fmt: skip

# The changes of an argument by which a mistake shows itself.


def changed(value: Any) -> Any:
    """Another array or number of the same kind."""
    if isinstance(value, np.ndarray):
        return value.ravel()[::-1].reshape(value.shape) * value.dtype.type(1.5)
    return value + 1 if isinstance(value, int) else value * 1.5


def last_changed(value: Any) -> Any:
    """The array with other numbers for the last image."""
    return np.concatenate([value[:-1], changed(value[-1:])])


def mirrored(value: Any) -> Any:
    """The array with its last two axes, which may be those of a kernel, in reverse."""
    return value[..., ::-1, ::-1]
