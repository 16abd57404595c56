"""Functions of single elements, shared between the cores."""

import numpy as np

from .memory import empty_like, memory_order
from .threads import share


def elements(function, *arguments, cost=0.2):
    """y of the first array's shape and memory order, filled by function(*arguments, y).

    All arrays among the arguments have one shape; the function gets them as flat pieces, and
    numbers as they are. `cost`: nanoseconds for an element.
    """
    y = empty_like(arguments[0])
    order = memory_order(y)
    flat = [_flat(a, order) if isinstance(a, np.ndarray) else a for a in (*arguments, y)]

    def work(part):
        function(*(a[part] if isinstance(a, np.ndarray) else a for a in flat))

    share(work, y.size, cost * y.size)
    return y


def _flat(a, order):
    """All numbers of `a`, its axes in this order: a view, if they lie in memory so."""
    return np.ascontiguousarray(a.transpose(order)).reshape(-1)
