"""What is asked of the functions under test, and what is said when they do not answer it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..ops import Losses


def check_inputs(who: str, inputs: Sequence[Any], dtype: str) -> list[np.ndarray]:
    """Arrays of float64, not empty, without NaN; and a dtype that backward can run in. A number of
    np.float64 becomes an array without axes."""
    if dtype not in ("float64", "float32"):
        raise ValueError(f"{who}: dtype must be 'float64' or 'float32', got {dtype!r}")
    inputs = [np.asarray(x) if isinstance(x, np.float64) else x for x in inputs]
    for k, x in enumerate(inputs):
        if not isinstance(x, np.ndarray) or x.dtype != np.float64 or x.size == 0 or tip_for(x):
            tip = tip_for(x) or (
                "to check a backward in float32, say so with dtype (of a layer: build it so)"
                if isinstance(x, np.ndarray) and x.dtype == np.float32
                else "there is nothing to check in it"
                if np.size(x) == 0
                else 'np.asarray(x, "float64") makes one'
            )
            raise TypeError(f"{who}: input {k} must be a float64 array, got {kind_of(x)}; {tip}")
        if not np.isfinite(x).all():
            raise ValueError(f"{who}: input {k} holds NaN or infinity")
    return inputs


def tip_for(x: Any) -> str:
    """What to do about arrays that compute in other ways than np.ndarray does; "" for those."""
    if isinstance(x, np.ma.MaskedArray):
        return "masked elements have no gradient: pass x.filled(...), or x.compressed()"
    return "its * is a matrix product: pass np.asarray(x)" if isinstance(x, np.matrix) else ""


def check_names(who: str, names: Sequence[str], **asked: Sequence[str]) -> None:
    """What an option names must be there."""
    for option, given in asked.items():
        if isinstance(given, str):
            raise TypeError(f"{who}: {option} must be a list of names, got {given!r}")
        if unknown := [str(n) for n in given if n not in names]:
            raise ValueError(
                f"{who}: no input is called {', '.join(unknown)}; they are {[*names]} ({option})"
            )


def checked_gradient(tensor: str, gradient: Any, expected: tuple[int, ...]) -> np.ndarray:
    """A copy of a gradient, which has the shape of its tensor."""
    if tip := tip_for(gradient):
        raise TypeError(f"check: the gradient of {tensor} is {kind_of(gradient)}; {tip}")
    g = np.array(asnumpy(gradient))
    if g.shape != expected or g.dtype.kind not in "fiu":
        fits = " (its transpose would fit)" if g.shape[::-1] == expected != g.shape else ""
        raise ValueError(
            f"check: the gradient of {tensor} must have its shape {expected} and real numbers, "
            f"got {g.shape} of {g.dtype}{fits}"
        )
    return g


class Outputs:
    """One output, or a tuple of them: joined in a row, and a dy for that taken apart again.

    Those named by position in `without_dy`, those that are None and those of integers or booleans
    get no dy: backward receives None in their place.
    """

    def __init__(self, name: str, y: Any, without_dy: Sequence[int]) -> None:
        self.several = isinstance(y, tuple)
        parts = [*y] if self.several else [y]
        if unknown := [k for k in without_dy if k not in range(len(parts) if self.several else 0)]:
            raise ValueError(
                f"check: without_dy names output {unknown[0]}; {name} has {len(parts)}"
            )
        self.shapes: list[tuple[int, ...] | None] = []
        for k, part in enumerate(parts):
            a = np.asarray(asnumpy(part)) if part is not None else None
            if self.several and (k in without_dy or a is None or a.dtype.kind in "iub"):
                self.shapes.append(None)
                continue
            which = f"output {k}" if self.several else "y"
            if tip := tip_for(part):
                raise TypeError(f"check: {name} gives {kind_of(part)} as {which}; {tip}")
            if a is None or a.dtype.kind != "f" or a.size == 0:
                got = f"{a.dtype} of shape {a.shape}" if a is not None else "None"
                raise TypeError(f"check: {name} must give {which} of floats, got {got}")
            self.shapes.append(a.shape)
        if not any(shape is not None for shape in self.shapes):
            raise ValueError(f"check: no output of {name} gets a dy: nothing to check")

    def joined(self, y: Any) -> np.ndarray:
        """One array; of several outputs those that get a dy, in a row."""
        if not self.several:
            return np.asarray(asnumpy(y))
        parts = [np.ravel(asnumpy(p)) for p, s in zip(y, self.shapes, strict=True) if s is not None]
        dtypes = {str(p.dtype) for p in parts if p.dtype.kind == "f"}  # the complex step mixes
        if len(dtypes) > 1:
            raise TypeError(f"check: the outputs must have one dtype, got {', '.join(dtypes)}")
        return np.concatenate(parts)

    def parts(self, dy: np.ndarray) -> list[Any]:
        """A dy for each output."""
        if not self.several:
            return [dy]
        parts: list[Any] = []
        for shape in self.shapes:
            count = 0 if shape is None else int(np.prod(shape))
            parts.append(None if shape is None else dy[:count].reshape(shape))
            dy = dy[count:]
        return parts


def check_unchanged(what: str, before: np.ndarray, after: Any) -> None:
    """A function left its argument as it was. If not, the differences would be taken elsewhere."""
    if asnumpy(after).tobytes() != before.tobytes():
        raise ValueError(f"check: {what} in place: nothing can be said about a function that does")


def counted(
    who: str, gradients: Any, names: Sequence[str], without: Sequence[str] = ()
) -> dict[str, Any]:
    """name -> gradient, None left out. There must be one for each name, and not only None; those
    `without` may be left out, too."""
    gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
    came = ", ".join(map(kind_of, gradients))
    expected = [n for n in names if n not in without]
    if len(gradients) == len(names):
        expected = [*names]
    if len(gradients) != len(expected):
        raise ValueError(
            f"{who}: {len(names)} inputs ({', '.join(names)}) need as many gradients, backward "
            f"gave {came}; name those that get none with without_gradient=[...]"
        )
    found = {
        n: g for n, g in zip(expected, gradients, strict=True) if g is not None and n not in without
    }
    if not found and any(n not in without for n in names):
        raise ValueError(f"{who}: nothing to check, backward gave {came}")
    return found


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
    if isinstance(a, np.matrix | np.ma.MaskedArray):
        return "an np.matrix" if isinstance(a, np.matrix) else "a masked array"
    return f"an array of {a.dtype}" if a.size else f"an empty array of {a.dtype}"
