"""Machine code, called with ctypes, that no exception and no other thread can interrupt.

The exception of a signal handler, such as Ctrl-C, is raised in the main thread between two
bytecodes. CPython 3.11 to 3.13 checks for signals only at the start of a function, at a backward
jump and after a call (github.com/python/cpython: pull request 18334, issue 148874). Therefore

    try:
        begin(x)     # a C function, which records in x that it has run
        ...
    finally:
        end(x)       # a C function, which undoes what is recorded in x

always runs `end`: an interrupt after `begin` is raised inside the `try`, and Python does not check
between the last call there and `end`. A len() before `end` would already be an opportunity.

The functions below are parts of such C functions; Numba compiles them, Python cannot call them.
"""

import sys
from functools import wraps

from llvmlite import ir
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from .. import INT, POINTER, VOID

C_INT = ir.IntType(32)
LINUX = sys.platform == "linux"


def _code(signature):
    """Turn write(builder, *arguments), which emits machine code, into a Numba intrinsic."""

    def decorate(write):
        @intrinsic
        @wraps(write)
        def typed(_, *kinds):
            def generate(context, builder, _, arguments):
                return write(builder, *arguments) or context.get_dummy_value()

            return signature, generate

        return typed

    return decorate


@_code(INT(POINTER, INT))
def load(builder, pointer, index):
    """pointer[index], read from memory each time, because another thread may have changed it."""
    return builder.load_atomic(builder.gep(pointer, [index]), "acquire", 8)


@_code(INT(POINTER, INT, INT, INT))
def exchange(builder, pointer, index, before, after):
    """If pointer[index] is `before`, replace it by `after`; return the old value."""
    pair = builder.cmpxchg(builder.gep(pointer, [index]), before, after, "seq_cst", "seq_cst")
    return builder.extract_value(pair, 0)


@_code(INT(INT))
def get_at(builder, address):
    """Call `int function(void)` at this address."""
    function = builder.inttoptr(address, ir.FunctionType(C_INT, []).as_pointer())
    return builder.sext(builder.call(function, []), address.type)


@_code(VOID(INT, INT))
def set_at(builder, address, value):
    """Call `void function(int)` at this address."""
    function = builder.inttoptr(address, ir.FunctionType(ir.VoidType(), [C_INT]).as_pointer())
    builder.call(function, [builder.trunc(value, C_INT)])


@_code(VOID())
def yield_core(builder):
    """Let another thread run on this core if one is ready. Does nothing on Windows."""
    if sys.platform != "win32":
        _call(builder, "sched_yield")


# Only Linux has the following functions. A set of cores is a bit mask in `words` integers.


@_code(INT())
def this_core(builder):
    return _call(builder, "sched_getcpu")


@_code(INT(POINTER, INT))
def get_cores(builder, cores, words):
    """Write the allowed cores of this thread to `cores`; return 0, or -1 on failure."""
    size = builder.mul(words, words.type(8))
    return _call(builder, "sched_getaffinity", C_INT(0), size, cores)


@_code(INT(POINTER, INT))
def set_cores(builder, cores, words):
    size = builder.mul(words, words.type(8))
    return _call(builder, "sched_setaffinity", C_INT(0), size, cores)


def _call(builder, name, *arguments):
    """Call a function of the C library that returns an int."""
    function = ir.FunctionType(C_INT, [value.type for value in arguments])
    result = builder.call(get_or_insert_function(builder.module, function, name), arguments)
    return builder.sext(result, ir.IntType(64))
