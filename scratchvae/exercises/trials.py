"""What an exercise is tried with: one function runs the student's code, the original, or a mistake
of the gallery on the same arrays, and returns the results by name."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..ops import CASES
from ..ops.cases import Case, away_from_zero, distinct, far_and_near, normal
from .calls import MODELS, calls, changed
from .course import Exercise

Results = dict[str, Any]  # "dx" -> its array
RETURNED = "result"  # of a function that is no backward
ANY_NUMBER = (normal, away_from_zero, distinct, far_and_near)  # what may be replaced by others


class Wrong(Exception):
    """A sentence for the student about what is wrong."""


@dataclass
class Trial:
    """Arguments of the function to write. `run` takes a module that has the function."""

    run: Callable[..., Results]
    where: str = ""  # what is special about the arguments
    tolerance: float = 1e-9
    known: dict[str, np.ndarray] = field(default_factory=dict)  # what the function can use
    options: dict[str, tuple[int, ...]] = field(default_factory=dict)  # sizes that it can use
    dy: str = "dy"  # its name for the incoming gradient
    changes: tuple[str, ...] = ()  # arguments that `run(module, change=name)` can change


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
    images: int | None = None  # of the batch


def _of_op(exercise: Exercise, original: Any) -> Iterator[Trial]:
    settings = [
        Setting(),
        Setting("in float32", dtype="float32"),
        Setting("for numbers a thousand times as large", lambda a: 1000 * a),
        Setting("for whole numbers, which are often equal or zero", np.round),
        Setting("for a batch of one image", images=1),
    ]
    if "need_dx" in exercise.solution:
        settings.append(Setting("with need_dx=False", need_dx=False))
    cases = CASES[exercise.name]
    if _is_elementwise(exercise.name, original):
        settings.append(Setting("for NaN", lambda a: np.where(a > 1, np.nan, a)))
    dy = exercise.solution.partition("(")[2].partition(",")[0]
    for seed, setting in enumerate(settings):
        more = [f(case) for f in (_uneven, _deeper, _flat) for case in cases] if seed == 0 else []
        for case in filter(None, [*cases, *more]):
            arrays = _arrays(case, setting)
            run = partial(_backward_of, exercise.name, arrays, case, setting.need_dx, dy, seed)
            where = ", ".join(part for part in (setting.where, _variant(case)) if part)
            tolerance = 1e-9 if setting.dtype == "float64" else 2e-5
            known, options = _known(exercise, original, arrays, case, dy, seed)
            floats = [name for name, value in case.options.items() if isinstance(value, float)]
            yield Trial(run, where, tolerance, known, options, dy, (dy, *arrays, *floats))


def _uneven(case: Case) -> Case | None:
    """The case with another number for the columns: one that is smaller by 1."""
    names = ("kernel_size", "stride", "padding")
    pairs = {name: (value, value - 1) for name, value in case.options.items()
             if name in names and isinstance(value, int)}  # fmt: skip
    shown = ", ".join(f"{name}={value}" for name, value in pairs.items())
    return replace(case, options=case.options | pairs, variant=f"with {shown}") if pairs else None


def _deeper(case: Case) -> Case | None:
    """The case with one more axis, unless the op is for images of a fixed number of axes."""
    shapes = {name: (*shape, 2) for name, shape in case.shapes.items()}
    if len({*shapes.values()}) > 1 or len(next(iter(shapes.values()))) not in (3, 4):
        return None
    return replace(case, shapes=shapes, variant="with arrays of one more axis")


def _flat(case: Case) -> Case | None:
    """The case without height and width, of an op with running statistics, which takes both."""
    if "running_mean" not in case.shapes:
        return None
    shapes = {name: shape[:2] for name, shape in case.shapes.items()}
    variant = ", ".join(part for part in (case.variant, "x of shape (N, C)") if part)
    return replace(case, shapes=shapes, variant=variant)


def _is_elementwise(op: str, original: Any) -> bool:
    """Whether y has the shape of the only input."""
    case = CASES[op][0]
    y, *_ = getattr(original, f"{op}_forward")(**case.arrays(0), **case.options)
    return [getattr(y, "shape", None)] == [*case.shapes.values()]


def _variant(case: Case) -> str:
    """`with stride=(2, 1)`, or `in the case "no bias"`."""
    named = f'in the case "{case.variant}"' if case.variant else ""
    return case.variant if case.variant.startswith("with ") else named


def _arrays(case: Case, setting: Setting) -> dict[str, np.ndarray]:
    arrays = case.arrays(0)
    batch = len(next(iter(arrays.values())))
    for name, a in arrays.items():
        if case.draw.get(name, normal) in ANY_NUMBER:
            a = setting.change(a)
        if len(a) == batch:  # other sizes differ, see ops/cases.py
            a = a[: setting.images]
        arrays[name] = a.astype(setting.dtype)
    return arrays


def _dy(y: Any, seed: int = 0) -> Any:
    """dy for an output, drawn at random. The objective gets a number that is not 1."""
    if isinstance(y, tuple):
        return 1.75
    return np.random.default_rng([1, seed]).standard_normal(y.shape).astype(y.dtype)


def _backward_of(
    op: str,
    arrays: dict[str, np.ndarray],
    case: Case,
    need_dx: bool,
    dy: str,
    seed: int,
    module: Any,
    change: str = "",
    by: Callable[[Any], Any] = changed,
) -> Results:
    """y and the gradients by name, dx, dw, db. Wrong if they are not as many as expected.

    `change` is the name of an argument that `by` replaces.
    """
    options = dict(case.options)
    given = {name: a.copy() for name, a in arrays.items()}
    for arguments in (given, options):
        if change in arguments:
            arguments[change] = by(arguments[change])
    before = {name: a.copy() for name, a in given.items()}
    y, cache, *_ = getattr(module, f"{op}_forward")(**given, **options)
    given[dy] = by(_dy(y, seed)) if change == dy else _dy(y, seed)
    before[dy] = np.copy(given[dy])
    if isinstance(y, np.ndarray):
        given["y"], before["y"] = y, y.copy()
    backward = partial(getattr(module, f"{op}_backward"), given[dy], cache,
                       **({} if need_dx else {"need_dx": False}))  # fmt: skip
    result = backward()
    for name, a in given.items():
        if not np.array_equal(a, before[name], equal_nan=True):
            raise Wrong(f"it changes {name} in place: make a new array")
    names = gradient_names(op)
    results = _as_tuple(result)
    if len(names) == 1 and isinstance(result, tuple) and len(result) == 1:
        raise Wrong(f"it must return {names[0]} alone, not a tuple: is there a comma behind it?")
    if len(results) != len(names) or (result is None and need_dx):
        expected = f"{len(names)} results, {', '.join(names)}" if len(names) > 1 else names[0]
        raise Wrong(f"it must return {expected}; it returned {_came(result)}")
    for name, r in zip(names, results, strict=True):
        if isinstance(r, np.ndarray) and not r.flags.writeable:
            raise Wrong(f"{name} is read-only: return a new array")
    for (name, a), (result_name, r) in product(given.items(), zip(names, results, strict=True)):
        if isinstance(r, np.ndarray) and np.shares_memory(a, r):
            raise Wrong(f"{result_name} is {name} itself, or a view of it: return a new array, "
                        "because a caller may add to it in place")  # fmt: skip
    for name, a, b in zip(names, results, _as_tuple(backward()), strict=False):
        if isinstance(a, np.ndarray) and not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
            raise Wrong(f"a second call with the same cache gives another {name}: it changes the "
                        "cache in place, or remembers the first call")  # fmt: skip
    return {"y": y[0] if isinstance(y, tuple) else y, **dict(zip(names, results, strict=True))}


def gradient_names(op: str) -> list[str]:
    """dx, dw, db: the results of the op's backward."""
    case = CASES[op][0]
    return [f"d{name}" for name in case.shapes if name not in case.constants]


def _as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def _came(result: Any) -> str:
    if result is None:
        return "None: is the `return` missing?"
    if isinstance(result, tuple | list):
        return f"a {type(result).__name__} of {len(result)}"
    shape = f" of shape {result.shape}" if hasattr(result, "shape") else ""
    return f"one {type(result).__name__}{shape}"


def _known(
    exercise: Exercise, original: Any, arrays: dict[str, np.ndarray], case: Case, dy: str, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    """dy, the arrays of the original's cache under the names they have there, and the inputs; and
    the pairs of the cache, such as kernel_size."""
    y, cache, *_ = getattr(original, f"{exercise.name}_forward")(**arrays, **case.options)
    known: dict[str, Any] = {dy: np.asarray(_dy(y, seed))}
    unpack = exercise.body.splitlines()[0].strip()
    if unpack.endswith("= cache"):
        names = [ast.unparse(n) for n in ast.parse(unpack).body[0].targets[0].elts]  # type: ignore[attr-defined]
        known |= dict(zip(names, cache.content, strict=True))
    known = {**known, **{n: a for n, a in arrays.items() if n not in known}}
    return (
        {n: a.astype("float64") for n, a in known.items() if isinstance(a, np.ndarray)},
        {n: a for n, a in known.items() if isinstance(a, tuple) and len(a) == 2},
    )


# -------------------------------------------------------------------- updates and other functions


def _of_function(exercise: Exercise) -> Iterator[Trial]:
    for dtype, tolerance in (("float64", 1e-9), ("float32", 2e-5)):
        for where, arguments in calls(exercise.function):
            if dtype == "float32":
                if exercise.function == "clip_to_norm":
                    return
                where = f"in float32 {where}".rstrip()
            cast = {n: a.astype(dtype) if isinstance(a, np.ndarray) else a
                    for n, a in arguments.items()}  # fmt: skip
            known = {n: a for n, a in arguments.items() if isinstance(a, np.ndarray)}
            run = partial(_called, exercise.function, cast)
            names = tuple(n for n, a in cast.items() if not isinstance(a, bool | tuple))
            yield Trial(run, where, tolerance, known, changes=names)


def _called(
    function: str,
    arguments: dict[str, Any],
    module: Any,
    change: str = "",
    by: Callable[[Any], Any] = changed,
) -> Results:
    """What the function returns, and its arrays afterwards."""
    given = {n: a.copy() if isinstance(a, np.ndarray) else a for n, a in arguments.items()}
    if change:
        given[change] = by(given[change])
    returned = getattr(module, function)(*given.values())
    return {RETURNED: returned} | {n: a for n, a in given.items() if isinstance(a, np.ndarray)}


# ---------------------------------------------------------------------------------------- models


def _of_model(exercise: Exercise) -> Iterator[Trial]:
    for where, options in MODELS[exercise.name]:
        yield Trial(partial(_gradients, exercise.function.partition(".")[0], options), where)


def _gradients(name: str, options: dict[str, Any], module: Any) -> Results:
    """The gradient of each parameter, in the order in which backward reaches them."""
    rng = np.random.default_rng(0)
    model = getattr(module, name)(rng=rng, dtype="float64", **options)
    model.zero_grad()
    images = 1 if model.flat_value.size > 1e6 else 2  # for an answer in seconds
    x = rng.uniform(0, 1, (images, *model.image_shape))
    loss = model.loss(x, model.noise(images, rng)).total
    model.backward()
    parameters = {n: p.grad.copy() for n, p in model.parameters().items()}
    return {"the loss": loss} | dict(reversed(parameters.items()))
