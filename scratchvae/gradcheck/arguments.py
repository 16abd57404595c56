"""What is asked of the functions under test, and what is said when they do not answer it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..ops import Losses


def check_inputs(who: str, inputs: Sequence[Any], dtype: str) -> None:
    """Arrays of float64, not empty, without NaN; and a dtype that backward can run in."""
    if dtype not in ("float64", "float32"):
        raise ValueError(f"{who}: dtype must be 'float64' or 'float32', got {dtype!r}")
    for k, x in enumerate(inputs):
        if not isinstance(x, np.ndarray) or x.dtype != np.float64 or x.size == 0:
            raise TypeError(
                f"{who}: input {k} must be a float64 array, got {kind_of(x)}; to check a backward "
                "in float32, say so with dtype (of a layer: build it so)"
            )
        if not np.isfinite(x).all():
            raise ValueError(f"{who}: input {k} holds NaN or infinity")


def check_unchanged(what: str, before: np.ndarray, after: Any) -> None:
    """A function left its argument as it was. If not, the differences would be taken elsewhere."""
    if asnumpy(after).tobytes() != before.tobytes():
        raise ValueError(f"check: {what} in place: nothing can be said about a function that does")


def counted(who: str, gradients: Any, names: Sequence[str]) -> dict[str, Any]:
    """name -> gradient, None left out; there must be one for each name, and not only None."""
    gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
    came = ", ".join(map(kind_of, gradients))
    if len(gradients) != len(names):
        tip = "" if who == "check" else "; name those that get none with constants=[...]"
        raise ValueError(
            f"{who}: {len(names)} inputs ({', '.join(names)}) need as many gradients, "
            f"backward gave {came}{tip}"
        )
    if names and all(g is None for g in gradients):
        raise ValueError(f"{who}: nothing to check, backward gave {came}")
    return {n: g for n, g in zip(names, gradients, strict=True) if g is not None}


def names_of(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of forward's parameters, where it has one for each input."""
    try:
        parameters = [*inspect.signature(forward).parameters.values()][:count]
    except (TypeError, ValueError):  # some built-in functions have no signature
        parameters = []
    if len(parameters) < count or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return [f"input {k}" for k in range(count)]
    return [p.name for p in parameters]


def title_of(forward: Callable[..., Any]) -> str:
    """What reports call the function: `conv2d` for conv2d_forward, `forward` for a lambda."""
    name = getattr(forward, "__name__", "")
    return name.removesuffix("_forward") if name.isidentifier() else "forward"


def output_of(result: tuple[Any, ...]) -> Any:
    """The y of (y, cache, ...); of Losses the total, which is what their backward starts from."""
    return result[0].total if isinstance(result[0], Losses) else result[0]


def kind_of(a: Any) -> str:
    """What `a` is, for a message."""
    if not isinstance(a, np.ndarray):
        return type(a).__name__
    return f"an array of {a.dtype}" if a.size else f"an empty array of {a.dtype}"
