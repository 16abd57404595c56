"""Limit BLAS to a single thread for a section of code.

    entry = Entry()
    try:
        enter(entry)     # the first entry sets the limit
        ...
    finally:
        leave(entry)     # the last exit restores the old number of threads

Several threads may be inside at once, and a signal handler may enter again in its own thread. An
interrupt still restores the old number (see atomic.py). OpenBLAS is the only BLAS that is limited.
"""

import ctypes
import os
from functools import partial

from numpy._core import _multiarray_umath

from .. import INT, POINTER, VOID, c_function
from .atomic import get_at, set_at

INSIDE, BEFORE, GET, SET = range(4)
_state = (ctypes.c_int64 * 4)()  # entries, old thread count, addresses of BLAS's functions or 0

Entry = ctypes.c_int64 * 1  # 1 from `enter` to `leave`, else 0


@c_function(VOID(POINTER, POINTER))
def _enter(state, entry):
    if entry[0] == 0:
        if state[INSIDE] == 0 and state[GET] != 0:
            state[BEFORE] = get_at(state[GET])
            set_at(state[SET], 1)
        state[INSIDE] += 1
        entry[0] = 1


@c_function(VOID(POINTER, POINTER))
def _leave(state, entry):
    if entry[0] == 1:
        entry[0] = 0
        state[INSIDE] -= 1
        if state[INSIDE] == 0 and state[GET] != 0:
            set_at(state[SET], state[BEFORE])


@c_function(VOID(POINTER))
def _leave_all(state):
    if state[INSIDE] != 0 and state[GET] != 0:
        set_at(state[SET], state[BEFORE])
    state[INSIDE] = 0


@c_function(INT(POINTER))
def _threads(state):
    if state[GET] == 0:
        return 0
    return state[BEFORE] if state[INSIDE] != 0 else get_at(state[GET])


# These are not Python functions, which can be interrupted before their first line.
enter, leave = partial(_enter, _state), partial(_leave, _state)
threads = partial(_threads, _state)  # how many BLAS uses without the limit; 0 if unknown


def _function(verb):
    """A function of the OpenBLAS that NumPy is linked to, or None."""
    library = ctypes.PyDLL(_multiarray_umath.__file__)  # with the libraries it is linked to
    for name in ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}"):
        if hasattr(library, name.format(verb)):
            return getattr(library, name.format(verb))
    return None


def core_name():
    """The processor type whose kernels OpenBLAS uses, such as "Haswell"; None if unknown."""
    function = _function("get_corename")
    if function is None:
        return None
    function.restype = ctypes.c_char_p
    return function().decode()


if _function("set_num_threads"):
    for _slot, _verb in ((GET, "get_num_threads"), (SET, "set_num_threads")):
        _state[_slot] = ctypes.cast(_function(_verb), ctypes.c_void_p).value
if hasattr(os, "register_at_fork"):  # a child has none of the other threads, nor their entries
    os.register_at_fork(after_in_child=partial(_leave_all, _state))
