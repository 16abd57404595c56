"""BLAS with a single thread, for a while.

    entry = Entry()
    try:
        enter(entry)     # the first that enters sets the limit
        ...
    finally:
        leave(entry)     # the last that leaves takes it back

Threads may be inside together; a signal handler may enter inside its own thread. atomic.py says why
no interrupt leaves the limit behind. A BLAS other than OpenBLAS keeps the threads it has.
"""

import ctypes
import os
from functools import partial

from numpy._core import _multiarray_umath

from .. import INT, POINTER, VOID, c_function
from .atomic import get_at, set_at

INSIDE, BEFORE, GET, SET = range(4)
_state = (ctypes.c_int64 * 4)()  # entries, threads outside, addresses of BLAS's functions or 0

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


# These are not functions of Python's, which may be interrupted before their first line.
enter, leave = partial(_enter, _state), partial(_leave, _state)
threads = partial(_threads, _state)  # how many BLAS has outside; 0 if that cannot be known


def _find():
    """Note the addresses of the functions that get and set BLAS's number of threads."""
    library = ctypes.PyDLL(_multiarray_umath.__file__)  # and all that it is linked with
    for name in ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}"):
        if hasattr(library, name.format("set_num_threads")):
            for slot, verb in ((GET, "get"), (SET, "set")):
                function = getattr(library, name.format(f"{verb}_num_threads"))
                _state[slot] = ctypes.cast(function, ctypes.c_void_p).value
            return


_find()
if hasattr(os, "register_at_fork"):  # the other threads, and what they have entered, are gone
    os.register_at_fork(after_in_child=partial(_leave_all, _state))
