"""The heart: one file per op, each with its formula, the naive loops, forward, and backward.

    y, cache = conv2d_forward(x, w, b, stride, padding)
    dx, dw, db = conv2d_backward(dy, cache)

`@accelerated` stands between caller and code: it has the op's `_arguments` function check and
complete what the caller gave, runs the body or the kernel that stands in for it, and wraps the
cache so that backward meets the same engine again. `conv2d_forward.reference` is the body, whatever
engine is on.

Ops are pure: they never change their inputs, own no randomness, and keep the dtype they are given
(float32 or float64; complex128 for complex-step differentiation). A cache refers to the arrays of
its forward, so leave x, w and y as they are until backward has run. Names and argument order follow
torch.nn.functional.
"""

from .adaptive_avg_pool2d import (
    adaptive_avg_pool2d_backward,
    adaptive_avg_pool2d_forward,
    adaptive_avg_pool2d_naive,
)
from .avg_pool2d import avg_pool2d_backward, avg_pool2d_forward, avg_pool2d_naive
from .batch_norm import batch_norm_backward, batch_norm_forward, batch_norm_naive
from .batch_norm_leaky_relu import (
    batch_norm_leaky_relu_backward,
    batch_norm_leaky_relu_forward,
)
from .bce import bce_backward, bce_forward, bce_naive
from .conv2d import conv2d_backward, conv2d_forward, conv2d_naive
from .conv2d_leaky_relu import conv2d_leaky_relu_backward, conv2d_leaky_relu_forward
from .conv_transpose2d import (
    conv_transpose2d_backward,
    conv_transpose2d_forward,
    conv_transpose2d_naive,
)
from .conv_transpose2d_leaky_relu import (
    conv_transpose2d_leaky_relu_backward,
    conv_transpose2d_leaky_relu_forward,
)
from .elbo import Losses, elbo_backward, elbo_forward, elbo_naive
from .kl import kl_backward, kl_forward, kl_naive
from .kl_free_bits import kl_free_bits_backward, kl_free_bits_forward, kl_free_bits_naive
from .leaky_relu import leaky_relu_backward, leaky_relu_forward
from .linear import linear_backward, linear_forward, linear_naive
from .linear_leaky_relu import linear_leaky_relu_backward, linear_leaky_relu_forward
from .max_pool2d import max_pool2d_backward, max_pool2d_forward, max_pool2d_naive
from .mean_logvar import mean_logvar_backward, mean_logvar_forward, mean_logvar_naive
from .mse import mse_backward, mse_forward, mse_naive
from .relu import relu_backward, relu_forward
from .reparameterize import reparameterize_backward, reparameterize_forward
from .sigmoid import sigmoid_backward, sigmoid_forward
from .tanh import tanh_backward, tanh_forward
from .upsample_nearest import (
    upsample_nearest_backward,
    upsample_nearest_forward,
    upsample_nearest_naive,
)

__all__ = [name for name in dir() if name.endswith(("_forward", "_backward", "_naive"))] + [
    "Losses"
]
