"""What an option of a run may be: its kind, its limits, and a ValueError for everything else."""

from __future__ import annotations

import math
import os
import reprlib
from dataclasses import field
from typing import Any

import numpy as np


def option(kind: type, default: Any, help: str, **limits: Any) -> Any:
    """A field: its kind, its default (None: may be left out), and limits: choices, or at_least,
    above, at_most, below."""
    return field(default=default, metadata={"kind": kind, "help": help, "limits": limits})


def checked(
    name: str, value: Any, default: Any, kind: type, help: str, limits: dict[str, Any]
) -> Any:
    """The value as the option's kind. ValueError if it is of another kind, or beyond a limit.

    Whole numbers do for floats, lists for tuples, NumPy's numbers for Python's and paths for text.
    """
    if value is None and default is None:
        return None
    if kind is tuple:
        if not isinstance(value, tuple | list) or len(value) > 1000:
            raise ValueError(f"{name} must be a list of whole numbers, got {short(value)}")
        return tuple(checked(name, number, 0, int, help, limits) for number in value)
    value = _plain(value)
    if kind is float and type(value) is int and abs(value) <= 2**53:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise ValueError(f"{name} must be {names[kind]}, got {short(value)}")
    if "choices" in limits and value not in limits["choices"]:
        raise ValueError(
            f"{name} must be one of {', '.join(limits['choices'])}; got {short(value)}"
        )
    holds = {
        "at_least": lambda limit: value >= limit,
        "above": lambda limit: value > limit,
        "at_most": lambda limit: value <= limit,
        "below": lambda limit: value < limit,
    }
    for word, test in holds.items():
        if word in limits and not test(limits[word]):
            raise ValueError(
                f"{name} must be {word.replace('_', ' ')} {limits[word]}, got {short(value)}"
            )
    return value


def _plain(value: Any) -> Any:
    """Python's own number for one of NumPy's, and the text of a path."""
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def short(value: Any) -> str:
    """What came, for an error message, however long or deep it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python does not write out numbers of thousands of digits
        return "a huge number"
