"""Steps that no exception can come between, and no other thread: machine code, called by ctypes.

A Ctrl-C, as any exception of a signal handler, reaches the main thread between two bytecodes.
CPython 3.11 to 3.13 looks for signals at the start of a function, at a jump backwards and after a
call, nowhere else (github.com/python/cpython: pull request 18334, issue 148874). So

    try:
        begin(x)     # one function of C, which notes in x that it has run
        ...
    finally:
        end(x)       # one function of C, which undoes what is noted in x

cannot lose its `end`: an interrupt after the call of `begin` is raised inside of the `try`, and
between the last call in there and the call of `end` Python does not look. The first thing that is
called after `finally` must be `end`: even a len() before it would be a gap.

The functions below are parts of such ones: Numba compiles them, Python cannot call them.
"""

import sys

from llvmlite import ir
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from .. import INT, POINTER, VOID

C_INT = ir.IntType(32)
LINUX = sys.platform == "linux"


@intrinsic
def load(_, pointer, index):
    """pointer[index], read anew each time: another thread may have changed it."""

    def generate(context, builder, signature, arguments):
        pointer, index = arguments
        return builder.load_atomic(builder.gep(pointer, [index]), "acquire", 8)

    return INT(POINTER, INT), generate


@intrinsic
def exchange(_, pointer, index, before, after):
    """Write `after` to pointer[index] if `before` stands there; return what stood there."""

    def generate(context, builder, signature, arguments):
        pointer, index, before, after = arguments
        pair = builder.cmpxchg(builder.gep(pointer, [index]), before, after, "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return INT(POINTER, INT, INT, INT), generate


@intrinsic
def get_at(_, address):
    """Call `int function(void)` at this address."""

    def generate(context, builder, signature, arguments):
        function = ir.FunctionType(C_INT, []).as_pointer()
        result = builder.call(builder.inttoptr(arguments[0], function), [])
        return builder.sext(result, arguments[0].type)

    return INT(INT), generate


@intrinsic
def set_at(_, address, value):
    """Call `void function(int)` at this address."""

    def generate(context, builder, signature, arguments):
        function = ir.FunctionType(ir.VoidType(), [C_INT]).as_pointer()
        value = builder.trunc(arguments[1], C_INT)
        builder.call(builder.inttoptr(arguments[0], function), [value])
        return context.get_dummy_value()

    return VOID(INT, INT), generate


@intrinsic
def yield_core(_):
    """Let another thread have this core, if one wants it. Windows has no such function."""

    def generate(context, builder, signature, arguments):
        if sys.platform != "win32":
            _call(builder, "sched_yield")
        return context.get_dummy_value()

    return VOID(), generate


# Linux alone has the following. A set of cores is an array of `words` integers, a bit for each.


@intrinsic
def this_core(_):
    """The core that this thread runs on."""

    def generate(context, builder, signature, arguments):
        return builder.sext(_call(builder, "sched_getcpu"), ir.IntType(64))

    return INT(), generate


def _of_this_thread(name):
    def declare(_, cores, words):
        def generate(context, builder, signature, arguments):
            pointer, words = arguments
            size = builder.mul(words, ir.Constant(words.type, 8))
            result = _call(builder, name, ir.Constant(C_INT, 0), size, pointer)
            return builder.sext(result, words.type)

        return INT(POINTER, INT), generate

    return intrinsic(declare)


get_cores = _of_this_thread("sched_getaffinity")  # 0, or -1 where that failed
set_cores = _of_this_thread("sched_setaffinity")


def _call(builder, name, *arguments):
    """Of the C library, a function that returns an int."""
    function = ir.FunctionType(C_INT, [value.type for value in arguments])
    return builder.call(get_or_insert_function(builder.module, function, name), arguments)
