"""Batch normalisation and leaky ReLU in the same passes; see batch_norm.py."""

from . import batch_norm

batch_norm_leaky_relu_forward = batch_norm._forward
batch_norm_leaky_relu_backward = batch_norm.batch_norm_backward
