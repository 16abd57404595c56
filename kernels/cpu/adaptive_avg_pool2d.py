"""Adaptive average pooling, window by window."""

from .window_sums import collect, spread


def adaptive_avg_pool2d_forward(x, output_size):
    rows, columns = (_windows(*sizes) for sizes in zip(x.shape[2:], output_size, strict=True))
    y = collect(x, rows, columns)
    cache = (rows, columns, x.shape[2:])
    return y, cache


def adaptive_avg_pool2d_backward(dy, cache):
    return spread(dy, *cache)


def _windows(size, count):
    ends = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    return [(first, last, 1 / (last - first)) for first, last in ends]
