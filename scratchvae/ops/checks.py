"""What every op asks of its arguments, asked in one place and before any engine sees them.

Each function raises a TypeError (not an array, a dtype or number of the wrong kind) or a ValueError
(a shape or number that does not fit). `@accelerated` puts the op's name in front.
"""

from ..backend import is_array, np

FLOATS = ("float32", "float64", "complex128")
_DTYPES = {np.dtype(name) for name in FLOATS}
_MIXED = {np.dtype("float64"), np.dtype("complex128")}


def check_floats(optional=(), **arrays):
    """All arrays are non-empty and share one floating dtype; those in `optional` may be None.

    Real float64 may stand beside complex128: a complex step perturbs one input of many.
    """
    given = {name: a for name, a in arrays.items() if a is not None or name not in optional}
    for name, a in given.items():
        if not is_array(a):
            raise TypeError(f"{name} must be a NumPy or CuPy array, got {type(a).__name__}")
        if a.dtype not in _DTYPES:
            raise TypeError(f"{name} must be float32 or float64 (or complex128), got {a.dtype}")
        if a.size == 0:
            raise ValueError(f"{name} is empty: its shape is {a.shape}")
    dtypes = {a.dtype for a in given.values()}
    if len(dtypes) > 1 and dtypes != _MIXED:
        came = ", ".join(f"{name} {a.dtype}" for name, a in given.items())
        raise TypeError(f"all arrays must share one dtype, got {came}")


def check_rank(name, a, ndim, axes):
    """`a` has `ndim` axes; `axes` names them for the message, as in "(N, C, H, W)"."""
    if a.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes {axes}, got shape {a.shape}")


def check_same_shape(**arrays):
    """All given arrays have the same shape."""
    if len({a.shape for a in arrays.values()}) > 1:
        came = ", ".join(f"{name} {a.shape}" for name, a in arrays.items())
        raise ValueError(f"shapes must agree, got {came}")


def check_vector(name, a, length, counts):
    """`a` is None or has shape (length,); `counts` says what the length counts."""
    if a is not None and a.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), one per {counts}, got {a.shape}")


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
    """An int, or a pair of them, as a pair of ints that are `least` or more."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(map(_is_int, values)):
        raise TypeError(f"{name} must be an int or a pair of ints, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return int(values[0]), int(values[1])


def check_slope(negative_slope):
    """The slope of a leaky ReLU whose backward looks at y: not negative."""
    if not negative_slope >= 0:
        raise ValueError(f"negative_slope must be at least 0, got {negative_slope}")
    return float(negative_slope)


def one_float_array(x):
    """The arguments of an op on a single array of any shape."""
    check_floats(x=x)
    return (x,)


def check_window_fits(x, kernel_size, padding):
    """At least one window fits into the padded image."""
    padded = (x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1])
    if padded[0] < kernel_size[0] or padded[1] < kernel_size[1]:
        raise ValueError(
            f"the window {kernel_size} is larger than the padded image {padded}: y would be empty"
        )


def pool2d_arguments(x, kernel_size, stride=None, padding=0):
    """The arguments of a pooling op, sizes as pairs. stride None: kernel_size, windows touch."""
    check_floats(x=x)
    check_rank("x", x, 4, "(N, C, H, W)")
    kernel_size, padding = pair("kernel_size", kernel_size, 1), pair("padding", padding, 0)
    stride = kernel_size if stride is None else pair("stride", stride, 1)
    if 2 * padding[0] > kernel_size[0] or 2 * padding[1] > kernel_size[1]:
        raise ValueError(
            f"padding {padding} must be at most half of kernel_size {kernel_size}: "
            "a window must not lie outside the image"
        )
    check_window_fits(x, kernel_size, padding)
    return x, kernel_size, stride, padding
