"""Checks of strides, paddings and kernel sizes, for ops and layers. Each raises a TypeError (a
wrong type) or a ValueError (out of range); `@accelerated` adds the op's name to the message."""

import numpy as np


def _is_int(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def size(name, value):
    """An int of at least 1."""
    if not _is_int(value):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def pair(name, value, least):
    """An int or a pair of ints, as a pair of ints; each must be at least `least`."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(map(_is_int, values)):
        raise TypeError(f"{name} must be an int or a pair of ints, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return int(values[0]), int(values[1])


def check_window_fits(x, kernel_size, padding):
    """Raise ValueError unless at least one window fits into the padded image."""
    padded = (x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1])
    if padded[0] < kernel_size[0] or padded[1] < kernel_size[1]:
        raise ValueError(
            f"the window {kernel_size} is larger than the padded image {padded}: y would be empty"
        )


def pool2d_arguments(x, kernel_size, stride=None, padding=0):
    """The arguments of a pooling op, sizes as pairs. stride None means kernel_size: no overlap."""
    kernel_size, padding = pair("kernel_size", kernel_size, 1), pair("padding", padding, 0)
    stride = kernel_size if stride is None else pair("stride", stride, 1)
    if 2 * padding[0] > kernel_size[0] or 2 * padding[1] > kernel_size[1]:
        raise ValueError(
            f"padding {padding} must be at most half of kernel_size {kernel_size}: "
            "a window must not lie outside the image"
        )
    check_window_fits(x, kernel_size, padding)
    return x, kernel_size, stride, padding
