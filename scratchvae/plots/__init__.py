"""Pictures: image grids, reconstructions over originals, the latent plane, loss curves.

The only package that imports matplotlib. It draws into PNG files, without a window or a display.
`images` puts pixels side by side, `codes` shows what a model makes of them, `curves` has axes.
"""

from .codes import interpolation, manifold, reconstructions
from .curves import code_scatter, errors_by_step, kernel_gradients, loss_curves
from .images import image_grid, image_table, to_uint8

__all__ = [
    "code_scatter",
    "errors_by_step",
    "image_grid",
    "image_table",
    "interpolation",
    "kernel_gradients",
    "loss_curves",
    "manifold",
    "reconstructions",
    "to_uint8",
]
