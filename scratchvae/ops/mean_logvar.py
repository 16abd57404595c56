"""The mean of an image's values and the logarithm of their variance: two numbers per image.

    mean[n] = average of x[n] over its P values
    var[n]  = average of (x[n] - mean[n])^2
    y[0, n] = mean[n]
    y[1, n] = log(var[n] + eps)                         eps keeps the log of a constant image finite

    dx[n]   = dy[0, n] / P  +  dy[1, n] 2 (x[n] - mean[n]) / (P (var[n] + eps))

    x (N, ...)  ->  y (2, N), so that `mu, logvar = y`

x also moves the mean inside var, but this adds nothing to dx: the deviations sum to zero.
Source: none. models/skip.py uses it to get mu and logvar from a feature map without parameters.
"""

from ..backend import accelerated, array_module
from .cases import Case


def mean_logvar_arguments(x, eps=1e-6):
    """Check that eps is above 0; make it a float."""
    if not eps > 0:
        raise ValueError(f"eps must be above 0, got {eps}")
    return x, float(eps)


def mean_logvar_naive(x, eps=1e-6):
    """The first four formulas in plain loops."""
    xp = array_module(x)
    y = xp.zeros((2, len(x)), x.dtype)
    for n, values in enumerate(x.reshape(len(x), -1)):
        mean = sum(values) / len(values)
        var = sum((value - mean) ** 2 for value in values) / len(values)
        y[0, n], y[1, n] = mean, xp.log(var + eps)
    return y


@accelerated("x (N, P, ...)", arguments=mean_logvar_arguments)
def mean_logvar_forward(x, eps):
    """y, cache: the formulas at the top of this file."""
    xp, values = array_module(x), x.reshape(len(x), -1)  # (N, P)
    mean = values.mean(axis=1)  # (N,)
    deviation = values - mean[:, None]  # (N, P)
    var = (deviation**2).mean(axis=1)  # (N,)
    y = xp.stack([mean, xp.log(var + eps)])  # (2, N)
    cache = (deviation, var + eps, x.shape)
    return y, cache


@accelerated
def mean_logvar_backward(dy, cache):
    """dx."""
    deviation, var_plus_eps, shape = cache
    dmean, dlogvar = dy / deviation.shape[1]  # (N,) each, divided by P
    dx = dmean[:, None] + (2 * dlogvar / var_plus_eps)[:, None] * deviation
    return dx.reshape(shape)


CASES = [Case({"x": (3, 2, 4)}, mixes=True)]
