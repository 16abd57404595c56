"""Share the images of a batch between the processor's cores.

    def work(part):                 # part: a slice of range(count)
        np.matmul(x[part], w, out=y[part])

    share(work, count, cost)        # cost: about how many nanoseconds it takes on one core
    sum(share(work, count, cost))   # if work returns something: a list, in the order of the parts

Two threading systems that take turns, BLAS's and one for the loops, spend their time waiting for
each other: a thread that has just finished a product spins for a while, on the core that the other
system wants. So there is one: every core takes its own images through loops and products alike, and
BLAS works with a single thread inside `share`. Kernels call BLAS nowhere else.

The threads are Python's. NumPy, BLAS and the compiled loops let go of the interpreter lock, so they
run side by side. There are as many as cores, unless NUMBA_NUM_THREADS or BLAS's own limit
(OPENBLAS_NUM_THREADS, OMP_NUM_THREADS, threadpoolctl) says fewer. A BLAS whose threads cannot be
limited from here (no OpenBLAS) keeps its own, and the loops run on one.
"""

import ctypes
import os
import sys
import threading

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy._core import _multiarray_umath

from . import jit

SMALL = 80_000  # nanoseconds: below, a second core comes too late
# Looks at a signal, about a microsecond each, before a thread falls asleep: for new work a whole
# training step long, for the end of a part not so long, in case the other thread wants this core.
FOR_WORK, FOR_AN_END = 5000, 1000


def share(work, count, cost):
    """Call work(part) for slices that make up range(count), one on each core; wait for all, and
    return what they returned, in order.

    Small work stays on this thread, and so does what is to be shared while another Python thread
    has the cores, or from inside of such work.
    """
    parts = min(count, cores())
    with _single_threaded_blas:
        if parts < 2 or cost < SMALL or not _busy.acquire(blocking=False):
            return [work(slice(0, count))]
        try:
            return _run(
                work, [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
            )
        finally:
            _busy.release()


def cores():
    """How many threads the user allows."""
    return min(_available, config.NUMBA_NUM_THREADS, _single_threaded_blas.limit())


def blas_threads():
    """How many threads BLAS takes outside of `share`."""
    return _single_threaded_blas.limit()


def _run(work, parts):
    """The first part on this thread, the others on workers, which are made when first needed."""
    while len(_workers) < len(parts) - 1:
        _workers.append(_Worker())
    mine, *others = parts
    busy = []
    try:
        for worker, part in zip(_workers, others, strict=False):
            worker.start_on(work, part)
            busy.append(worker)
        results = [work(mine)]
    except KeyboardInterrupt:
        _workers.clear()  # one of them may have been started without being noted
        raise
    finally:  # also after Ctrl-C: nobody may write into arrays that their owner thinks are done
        errors = [error for worker in busy if (error := worker.wait())]
    if errors:
        raise errors[0]
    return results + [worker.take_result() for worker in busy]


class _Worker:
    """A thread that waits for work, awake for a while and then asleep.

    To fall asleep and to be woken takes 50 microseconds. So a step's many small pieces of work find
    it awake. It waits without the interpreter lock, and gives its core away at every look.

    The system likes to wake a thread on the core of the one that woke it, and to leave both there
    for a while, taking turns: whichever finds itself on the other's core moves to another one.
    """

    def __init__(self):
        self.go, self.done = _Signal(FOR_WORK), _Signal(FOR_AN_END)
        self.core = self.waker = None  # where this thread was last, and the one that gives it work
        threading.Thread(target=self._loop, name="scratchvae", daemon=True).start()

    def start_on(self, work, part):
        self.work, self.part, self.error, self.result = work, part, None, None
        _leave(self.core)
        self.waker = _core()
        self.go.give()

    def wait(self):
        """The error that the work ended with, or None."""
        interrupt = None
        while True:
            try:
                self.done.take()
                return interrupt or self.error
            except KeyboardInterrupt as error:
                interrupt = error

    def take_result(self):
        result, self.result = self.result, None  # or it would keep the arrays alive
        return result

    def _loop(self):
        while True:
            self.go.take()
            _leave(self.waker)
            try:
                self.result = self.work(self.part)
            except BaseException as error:
                self.error = error
            self.work = None  # or it would keep the arrays alive
            self.core = _core()
            self.done.give()


class _Signal:
    """A lock that one thread gives and another takes, with a count to watch for the impatient."""

    def __init__(self, patience):
        self.patience = patience
        self.lock, self.count = threading.Lock(), np.zeros(1, np.int64)
        self.lock.acquire()
        self.address, self.taken = self.count.ctypes.data, 0

    def give(self):
        self.lock.release()
        self.count[0] += 1

    def take(self):
        _await_change(self.address, self.taken, self.patience)
        self.lock.acquire()
        self.taken += 1


def _core():
    """The core that this thread runs on; None where the system does not tell."""
    return _sched_getcpu() if _sched_getcpu else None


def _leave(core):
    """If this thread is on this core, move it to another one. It may come back later."""
    if core is not None and core == _core():
        allowed = os.sched_getaffinity(0)
        if others := allowed - {core}:
            os.sched_setaffinity(0, others)
            os.sched_setaffinity(0, allowed)


_sched_getcpu = None
if sys.platform == "linux":
    _sched_getcpu = getattr(ctypes.CDLL(None), "sched_getcpu", None)


@intrinsic
def _load(_, address):
    """The integer at this address, read anew each time: another thread may have changed it."""

    def generate(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.intp), generate


@intrinsic
def _yield(_):
    """Let another thread have this core, if one wants it. Windows has no such function."""

    def generate(context, builder, signature, arguments):
        if sys.platform != "win32":
            sched_yield = ir.FunctionType(ir.IntType(32), [])
            builder.call(get_or_insert_function(builder.module, sched_yield, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@jit
def _await_change(address, value, looks):
    """Watch an integer until it has another value, or for so many looks."""
    for _ in range(looks):
        for _ in range(1000):
            if _load(address) != value:
                return
        _yield()


class _SingleThreadedBlas:
    """A `with` block in which BLAS uses one thread. Threads may be in it together: the first sets
    the limit, the last takes it back."""

    def __init__(self):
        library = ctypes.CDLL(_multiarray_umath.__file__)  # and all that it is linked with
        self._set = self._get = None
        for name in ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}"):
            if hasattr(library, name.format("set_num_threads")):
                self._set = getattr(library, name.format("set_num_threads"))
                self._get = getattr(library, name.format("get_num_threads"))
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def limit(self):
        """BLAS's number of threads outside of all blocks."""
        if self._set is None:
            return 1
        return self._before if self._inside else self._get()

    def __enter__(self):
        with self._lock:
            if self._set and self._inside == 0:
                self._before = self._get()
                self._set(1)
            self._inside += 1

    def __exit__(self, *error):
        with self._lock:
            self._inside -= 1
            if self._set and self._inside == 0:
                self._set(self._before)


def _start():
    """In a process of its own: a fork has the locks of its parent, but none of its threads."""
    global _busy, _workers, _single_threaded_blas, _available
    _busy, _workers = threading.Lock(), []
    _single_threaded_blas = _SingleThreadedBlas()
    try:
        _available = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        _available = os.cpu_count() or 1


_start()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start)
