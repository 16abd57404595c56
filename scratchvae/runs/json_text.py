"""Results as JSON that any reader takes, whatever numbers they are made of."""

from __future__ import annotations

import json
import math
from pathlib import PurePath
from typing import Any

import numpy as np


def to_json(result: dict[str, Any]) -> str:
    """A result as JSON, without a line end after it.

    Parameters
    ----------
    result : dict
        Of numbers, strings, dicts, sequences, NumPy's numbers and arrays, and paths. NaN and the
        infinities, which JSON does not have, become null.

    Raises
    ------
    TypeError
        For anything else in it.
    """
    return json.dumps(_plain(result), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, PurePath) else value
