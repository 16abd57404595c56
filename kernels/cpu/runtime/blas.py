"""BLAS with a single thread, for a while.

    entry = Entry()
    try:
        enter(entry)     # the first that enters sets the limit
        ...
    finally:
        leave(entry)     # the last that leaves takes it back

Threads may be inside together, and a signal handler may enter while the thread that it interrupts
is inside. atomic.py says why an interrupt cannot leave BLAS with the limit. Of a BLAS that is no
OpenBLAS nothing is known here: it keeps the threads it has.
"""

import ctypes
import os
from functools import partial

from numpy._core import _multiarray_umath

from .. import POINTER, VOID, c_function
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


# Not functions of Python's: those may be interrupted before their first line.
enter, leave = partial(_enter, _state), partial(_leave, _state)


def threads():
    """BLAS's number of threads outside; None if it cannot be known."""
    if _state[GET] == 0:
        return None
    return _state[BEFORE] if _state[INSIDE] else _get()


def _find():
    """The function that tells BLAS's number of threads, or None. Its address and that of the one
    that sets it are noted."""
    library = ctypes.PyDLL(_multiarray_umath.__file__)  # and all that it is linked with
    for name in ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}"):
        if hasattr(library, name.format("set_num_threads")):
            functions = (getattr(library, name.format(f"{x}_num_threads")) for x in ("get", "set"))
            get, set_ = functions
            _state[GET], _state[SET] = (ctypes.cast(f, ctypes.c_void_p).value for f in (get, set_))
            return get
    return None


_get = _find()
if hasattr(os, "register_at_fork"):  # the other threads, and what they have entered, are gone
    os.register_at_fork(after_in_child=partial(_leave_all, _state))
