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
    flat = []
    for a in (*arguments, y):
        if isinstance(a, np.ndarray):  # a view, if its numbers lie in this order without gaps
            a = np.ascontiguousarray(a.transpose(order)).reshape(-1)
        flat.append(a)

    def work(part):
        pieces = []
        for a in flat:
            pieces.append(a[part] if isinstance(a, np.ndarray) else a)
        function(*pieces)

    share(work, y.size, cost * y.size)
    return y
