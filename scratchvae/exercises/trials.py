"""What an exercise is tried with: one function runs the student's code, the original, or a mistake
of the gallery on the same arrays, and returns the results by name."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..ops import CASES
from ..ops.cases import Case, away_from_zero, distinct, far_and_near, normal
from .course import Exercise

Results = dict[str, Any]  # "dx" -> its array
ANY_NUMBER = (normal, away_from_zero, distinct, far_and_near)  # what may be replaced by others


class Wrong(Exception):
    """A sentence for the student about what is wrong."""


@dataclass
class Trial:
    """Arguments of the function to write. `run` takes a module that has the function."""

    run: Callable[[Any], Results]
    where: str = ""  # what is special about the arguments
    tolerance: float = 1e-9
    known: dict[str, np.ndarray] = field(default_factory=dict)  # what the function can use


def trials(exercise: Exercise, original: Any) -> Iterator[Trial]:
    """The trials of an exercise, the plainest first."""
    if "." in exercise.function:
        yield from _of_model(exercise)
    elif exercise.name in CASES:
        yield from _of_op(exercise, original)
    else:
        yield from _of_function(exercise)


# ------------------------------------------------------------------------------------- backward


class Setting(NamedTuple):
    """A case with other numbers, another dtype, or another option of backward."""

    where: str = ""
    change: Callable[[np.ndarray], np.ndarray] = np.copy
    dtype: str = "float64"
    need_dx: bool = True


def _of_op(exercise: Exercise, original: Any) -> Iterator[Trial]:
    settings = [
        Setting(),
        Setting("in float32", dtype="float32"),
        Setting("for numbers a thousand times as large", lambda a: 1000 * a),
        Setting("for whole numbers, which are often equal or zero", np.round),
    ]
    if "need_dx" in exercise.solution:
        settings.append(Setting("with need_dx=False", need_dx=False))
    for setting in settings:
        for case in CASES[exercise.name]:
            arrays = _arrays(case, setting)
            run = partial(_backward_of, exercise.name, arrays, case, setting.need_dx)
            where = " ".join(part for part in (setting.where, _variant(case)) if part)
            tolerance = 1e-9 if setting.dtype == "float64" else 2e-5
            known = _known(exercise, original, arrays, case)
            yield Trial(run, where, tolerance, known)


def _variant(case: Case) -> str:
    return f"({case.variant})" if case.variant else ""


def _arrays(case: Case, setting: Setting) -> dict[str, np.ndarray]:
    arrays = case.arrays(0)
    for name, a in arrays.items():
        if case.draw.get(name, normal) in ANY_NUMBER:
            a = setting.change(a)
        arrays[name] = a.astype(setting.dtype)
    return arrays


def _dy(y: Any) -> Any:
    """dy for an output, drawn at random. The objective gets a number that is not 1."""
    if isinstance(y, tuple):
        return 1.75
    return np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)


def _backward_of(
    op: str, arrays: dict[str, np.ndarray], case: Case, need_dx: bool, module: Any
) -> Results:
    """y and the gradients by name, dx, dw, db. Wrong if they are not as many as expected."""
    given = {name: a.copy() for name, a in arrays.items()}
    y, cache, *_ = getattr(module, f"{op}_forward")(**given, **case.options)
    dy = _dy(y)
    before = np.copy(dy)
    result = getattr(module, f"{op}_backward")(dy, cache, **({} if need_dx else {"need_dx": False}))
    for name, a in given.items():
        if not np.array_equal(a, arrays[name], equal_nan=True):
            raise Wrong(f"it changes {name} in place: make a new array")
    if not np.array_equal(dy, before, equal_nan=True):
        raise Wrong("it changes dy in place: make a new array")
    names = gradient_names(op)
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(names):
        expected = f"{len(names)} results, {', '.join(names)}" if len(names) > 1 else names[0]
        raise Wrong(f"it must return {expected}; it returned {_came(result)}")
    return {"y": y[0] if isinstance(y, tuple) else y, **dict(zip(names, results, strict=True))}


def gradient_names(op: str) -> list[str]:
    """dx, dw, db: the results of the op's backward."""
    case = CASES[op][0]
    return [f"d{name}" for name in case.shapes if name not in case.constants]


def _came(result: Any) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {len(result)}"
    return f"one array of shape {result.shape}" if hasattr(result, "shape") else repr(result)


def _known(
    exercise: Exercise, original: Any, arrays: dict[str, np.ndarray], case: Case
) -> dict[str, np.ndarray]:
    """The inputs, dy, and the arrays of the original's cache under the names they have there."""
    y, cache, *_ = getattr(original, f"{exercise.name}_forward")(**arrays, **case.options)
    known = arrays | {"dy": np.asarray(_dy(y))}
    unpack = exercise.body.splitlines()[0].strip()
    if unpack.endswith("= cache"):
        names = [ast.unparse(n) for n in ast.parse(unpack).body[0].targets[0].elts]  # type: ignore[attr-defined]
        known |= dict(zip(names, cache.content, strict=True))
    return {n: a.astype("float64") for n, a in known.items() if isinstance(a, np.ndarray)}


# -------------------------------------------------------------------- updates and other functions


class Call(NamedTuple):
    """Arguments of a function by name. Arrays may be changed in place: those are results, too."""

    where: str
    arguments: dict[str, Any]


def _calls(function: str) -> list[Call]:
    rng = np.random.default_rng(0)
    value, grad, m = rng.standard_normal((3, 4, 5))
    v = rng.random((4, 5))
    if function == "sgd_step":
        plain = {"value": value, "grad": grad, "velocity": m, "lr": 0.1, "momentum": 0.9,
                 "weight_decay": 0.0, "nesterov": False}  # fmt: skip
        return [
            Call("", plain),
            Call("with weight_decay=0.3", plain | {"weight_decay": 0.3}),
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
            Call("for a norm above max_norm", {"grad": 3 * grad, "max_norm": 1.0}),
            Call("for a norm below max_norm", {"grad": grad / 100, "max_norm": 1.0}),
            Call("for numbers whose squares overflow", {"grad": 1e200 * grad, "max_norm": 1.0}),
            Call("for numbers whose squares underflow", {"grad": 1e-200 * grad, "max_norm": 1.0}),
            Call("for zeros", {"grad": 0 * grad, "max_norm": 1.0}),
            Call("with an infinity", {"grad": np.where(v < 0.1, np.inf, grad), "max_norm": 1.0}),
        ]
    cells = rng.standard_normal((2, 3, 4, 3, 3, 2))  # (N, C, OH, OW, KH, KW)
    return [
        Call("", {"cells": cells, "image_size": (6, 4), "stride": (1, 1)}),
        Call("with stride=(2, 1)", {"cells": cells, "image_size": (9, 4), "stride": (2, 1)}),
        Call("with stride=(3, 2)", {"cells": cells, "image_size": (13, 7), "stride": (3, 2)}),
    ]


def _of_function(exercise: Exercise) -> Iterator[Trial]:
    for dtype, tolerance in (("float64", 1e-9), ("float32", 2e-5)):
        for where, arguments in _calls(exercise.function):
            if dtype == "float32":
                if exercise.function == "clip_to_norm":
                    return
                where = f"in float32 {where}".rstrip()
            cast = {n: a.astype(dtype) if isinstance(a, np.ndarray) else a
                    for n, a in arguments.items()}  # fmt: skip
            known = {n: a for n, a in arguments.items() if isinstance(a, np.ndarray)}
            run = partial(_called, exercise.function, cast)
            yield Trial(run, where, tolerance, known)


def _called(function: str, arguments: dict[str, Any], module: Any) -> Results:
    """What the function returns, and its arrays afterwards."""
    given = {n: a.copy() if isinstance(a, np.ndarray) else a for n, a in arguments.items()}
    returned = getattr(module, function)(*given.values())
    changed = {n: a for n, a in given.items() if isinstance(a, np.ndarray)}
    return {"the result": returned} | changed


# ---------------------------------------------------------------------------------------- models

MODELS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "mlp": [("", {"image_shape": (1, 2, 3), "latent_dim": 3, "kl_weight": 2.5})],
    "skip": [  # with a larger kl_weight, the gradient through z would only be rounding
        ("", {"image_shape": (1, 64, 64), "kl_weight": 1e-8}),
        ('with skips="none"', {"image_shape": (1, 64, 64), "kl_weight": 1e-8, "skips": "none"}),
        ('with latent="learned"',
         {"image_shape": (1, 64, 64), "kl_weight": 1e-8, "latent": "learned"}),
    ],
}  # fmt: skip


def _of_model(exercise: Exercise) -> Iterator[Trial]:
    for where, options in MODELS[exercise.name]:
        yield Trial(partial(_gradients, exercise.function.partition(".")[0], options), where)


def _gradients(name: str, options: dict[str, Any], module: Any) -> Results:
    """The gradient of each parameter, in the order in which backward reaches them."""
    rng = np.random.default_rng(0)
    model = getattr(module, name)(rng=rng, dtype="float64", **options)
    model.zero_grad()
    x = rng.uniform(0, 1, (2, *model.image_shape))
    loss = model.loss(x, model.noise(2, rng)).total
    model.backward()
    parameters = {n: p.grad.copy() for n, p in model.parameters().items()}
    return {"the loss": loss} | dict(reversed(parameters.items()))
