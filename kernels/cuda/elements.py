"""Launches of kernels that have a thread for each element."""

from . import blocks_for, contiguous, empty_like, launch


def elements(file, kernel, *arguments):
    """A fresh y like the first array; the kernel gets the arguments, y and the element count.

    Arrays among the arguments have one shape and are made contiguous.
    """
    arguments = [contiguous(a) if hasattr(a, "flags") else a for a in arguments]
    y = empty_like(arguments[0])
    launch(file, kernel, blocks_for(y.size), *arguments, y, y.size)
    return y
