"""Variational autoencoders from scratch: every forward and backward pass written by hand.

>>> import scratchvae as sv
>>> sv.use("numba")
'numba'
>>> model = sv.models.build("conv", latent_dim=20, seed=0)
>>> optimizer = sv.optim.Adam(model, lr=1e-3)

A name is imported when it is first used, so `import scratchvae` itself takes no time.
"""

import os
from importlib import import_module

# In a checkout `kernels/` is beside this folder; an install puts it inside. If it is not inside,
# look in the parent folder, so that a checkout works installed or not.
_here = os.path.dirname(os.path.abspath(__file__))
if not os.path.isdir(os.path.join(_here, "kernels")):
    __path__.append(os.path.dirname(_here))

__version__ = "0.1.0"

TYPE_CHECKING = False  # for type checkers it is True; `typing` would take longer than all the rest
if TYPE_CHECKING:
    from . import (
        data,
        evaluation,
        gradcheck,
        layers,
        models,
        ops,
        optim,
        plots,
        runs,
        train,
        xray,
    )
    from .backend import asarray, asnumpy, use, using
    from .evaluation.scales import loss_scales
    from .models.weights import load_weights, save_weights

__all__ = [
    "asarray",
    "asnumpy",
    "data",
    "evaluation",
    "gradcheck",
    "layers",
    "load_weights",
    "loss_scales",
    "models",
    "ops",
    "optim",
    "plots",
    "runs",
    "save_weights",
    "train",
    "use",
    "using",
    "xray",
]
_HOMES = {  # of the functions
    ".backend": ("asarray", "asnumpy", "use", "using"),
    ".evaluation.scales": ("loss_scales",),
    ".models.weights": ("load_weights", "save_weights"),
}


def __getattr__(name: str) -> object:
    """Import a module or a function when it is first used."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home, __name__), name)
    if not name.startswith("_"):
        try:
            return import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
