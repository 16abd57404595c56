"""Functions of single elements, shared between the cores."""

import numpy as np

from .memory import empty_like
from .threads import share


def elements(function, *arrays):
    """function(*arrays) for a NumPy ufunc or what `elementwise` compiles, in the memory order of
    the first array. Those after it have its shape, or are numbers."""
    y = empty_like(arrays[0])
    if y.ndim == 0:
        return function(*arrays, out=y)

    def work(part):
        function(*(a[part] if np.ndim(a) else a for a in arrays), out=y[part])

    with np.errstate(all="ignore"):  # NaN and infinity go through without a word
        share(work, len(y), 2 * y.size)
    return y
