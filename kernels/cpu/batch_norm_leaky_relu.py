"""Batch normalisation and leaky ReLU in the same passes; see batch_norm.py."""

from .batch_norm import _forward as batch_norm_leaky_relu_forward  # noqa: F401
from .batch_norm import batch_norm_backward as batch_norm_leaky_relu_backward  # noqa: F401
