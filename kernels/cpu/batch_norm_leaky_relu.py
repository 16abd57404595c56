"""Batch normalisation and leaky ReLU in the same passes: see batch_norm.py."""

from .batch_norm import _forward, batch_norm_backward


def batch_norm_leaky_relu_forward(
    x, running_mean, running_var, w, b, training, momentum, eps, negative_slope
):
    return _forward(x, running_mean, running_var, w, b, training, momentum, eps, negative_slope)


def batch_norm_leaky_relu_backward(dy, cache):
    return batch_norm_backward(dy, cache)
