"""Pictures in PNG files, without a display, all labelled: `images`, `codes` of models, `curves`.

Only `drawing.py` imports matplotlib.
"""

from ..notebook import Pictures
from .codes import interpolation, manifold, reconstructions, samples, traversal
from .curves import code_scatter, errors_by_step, kernel_gradients, loss_curves
from .images import image_table, layout, to_uint8, too_large

__all__ = [
    "Pictures",
    "code_scatter",
    "errors_by_step",
    "image_table",
    "interpolation",
    "kernel_gradients",
    "layout",
    "loss_curves",
    "manifold",
    "reconstructions",
    "samples",
    "to_uint8",
    "too_large",
    "traversal",
]
