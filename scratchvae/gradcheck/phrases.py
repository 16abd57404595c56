"""Parts of the sentences of hints.py."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def side(name: str, a: np.ndarray, above: bool) -> str:
    """x > 0, or x is true, if x has only the numbers 0 and 1."""
    if ((a == 0) | (a == 1)).all():
        return f"{name} is {str(above).lower()}"
    return f"{name} {'>' if above else '<='} 0"


def of(count: int, size: int) -> str:
    """5 of 12 elements are."""
    if count == size:
        return f"all {size} elements are" if size > 1 else "it is"
    return f"{count} of {size} elements {'is' if count == 1 else 'are'}"


def product(name: str, axes: Iterable[int]) -> str:
    """kernel_size[0] * kernel_size[1]; of a name such as (SH, SW) it is SH * SW."""
    if name.startswith("("):
        return name.strip("()").replace(", ", " * ")
    return " * ".join(f"{name}[{axis}]" for axis in axes)


def number(factor: float) -> str:
    text = f"{factor:.6g}"
    return f"{factor:.9g}" if text == "1" else text


def axes_text(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def is_simple(factor: float) -> bool:
    return any(np.isclose(abs(factor), c) for c in (0.25, 0.5, 1, 2, 4))


def also(factor: float, word: str) -> str:
    """What is wrong, too, with or without the factor."""
    if np.isclose(factor, 1):
        return ""
    return f", and {word} it the result would still be {factor:.4g} times the right value"
