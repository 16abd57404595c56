"""Variational autoencoders from scratch: every forward and backward pass written by hand.

>>> import scratchvae as sv
>>> sv.use("numba")
'numba'
>>> model = sv.models.build("conv", latent_dim=20, seed=0)
>>> optimizer = sv.optim.Adam(model, lr=1e-3)
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# In a checkout `kernels/` is beside this folder; an install puts it inside. If it is not inside,
# look in the parent folder, so that a checkout works installed or not.
_here = Path(__file__).resolve().parent
if not (_here / "kernels").is_dir():
    __path__.append(str(_here.parent))

__version__ = "0.1.0"

from . import data, evaluation, gradcheck, layers, models, ops, optim, runs, train
from .backend import asarray, asnumpy, use, using
from .evaluation.scales import loss_scales
from .models.weights import load_weights, save_weights

if TYPE_CHECKING:
    from . import plots

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
]


def __getattr__(name: str) -> Any:
    """`sv.plots` is imported when it is first used: matplotlib takes a second."""
    if name == "plots":
        return import_module(".plots", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
