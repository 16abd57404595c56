"""One file per op, each with its formula, naive loops, forward, backward and example cases.

    y, cache = conv2d_forward(x, w, b, stride, padding)
    dx, dw, db = conv2d_backward(dy, cache)

`@accelerated` checks the arguments, runs the body or a kernel in its place, and wraps the cache so
that backward runs on the same engine. `conv2d_forward.reference` is the body.

Ops are pure: they never change their inputs, draw no random numbers, and keep the dtype of their
inputs (float32 or float64; complex128 for complex-step differentiation). A cache refers to the
arrays of its forward, so leave x, w and y unchanged until backward has run. Names and argument
order follow torch.nn.functional. docs/backward.md derives every backward.

The complex step reads a derivative from the imaginary part of f(x + ih). So the bodies avoid abs,
var and norm, which drop the imaginary part, and compare real parts only.

Every file of this folder that defines `<op>_forward` is an op; this module collects its functions.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .cases import Case
from .elbo import Losses

OPS: dict[str, ModuleType] = {}  # op -> its file
CASES: dict[str, list[Case]] = {}  # op -> its examples

for _file in pkgutil.iter_modules(__path__):
    _module = importlib.import_module(f"{__name__}.{_file.name}")
    if hasattr(_module, f"{_file.name}_forward"):
        OPS[_file.name], CASES[_file.name] = _module, getattr(_module, "CASES", [])

_names = [f"{op}_{end}" for op in OPS for end in ("forward", "backward", "naive")]
globals().update({n: f for op, m in OPS.items() for n, f in vars(m).items() if n in _names})

__all__ = ["CASES", "OPS", "Losses", *(name for name in _names if name in globals())]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
