"""Share the images of a batch between the processor's cores.

    def work(part):                 # part: a slice of range(count)
        np.matmul(x[part], w, out=y[part])

    share(work, count, cost)        # cost: about how many nanoseconds it takes on one core
    sum(share(work, count, cost))   # if work returns something: a list, in the order of the parts

Two threading systems that take turns, BLAS's and one for the loops, wait for each other: a thread
that has finished a product spins on the core that the other system wants. So every core takes its
own images through loops and products alike, BLAS works with a single thread inside `share`, and
kernels call BLAS nowhere else.

The threads are Python's; NumPy, BLAS and the compiled loops release the interpreter lock. There are
as many as cores, or fewer by NUMBA_NUM_THREADS, BLAS's limit (OPENBLAS_NUM_THREADS,
OMP_NUM_THREADS, threadpoolctl) or this thread's cores. A BLAS other than OpenBLAS keeps its own
threads, and the loops run on one.

A part belongs to the thread that claims it. This thread offers all but the first to workers, and
takes what none has begun: it waits for no busy or sleeping worker. So `share` may be called inside
work, by several threads or a signal handler. Parts and their sums do not depend on free threads.

When a Ctrl-C leaves `share`, no part is running and none will begin; atomic.py says how.
"""

import os
import threading
from _thread import allocate_lock, start_new_thread
from collections import deque
from contextlib import suppress
from ctypes import c_int64

from numba import config

from .. import INT, POINTER, VOID, c_function
from . import blas
from .atomic import LINUX, exchange, get_cores, load, set_cores, this_core, yield_core

SMALL = 80_000  # nanoseconds: below, a second core comes too late
# Looks at a signal, about a microsecond each, before a thread falls asleep: for new work a whole
# training step long, for the end of a part not so long, in case the other thread wants this core.
FOR_WORK, FOR_AN_END = 5000, 1000


def share(work, count, cost):
    """Call work(part) for slices of range(count), one a core or one if small; results in order."""
    entry = blas.Entry()
    try:
        blas.enter(entry)
        parts = 1 if cost < SMALL else min(count, cores())
        if parts < 2:
            return [work(slice(0, count))]
        return _share(
            work, [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]
        )
    finally:
        blas.leave(entry)


def share_rows(function, cost, arrays, *more):
    """Call function(*arrays, *more) on each core with its own rows of the arrays."""
    share(lambda part: function(*[a[part] for a in arrays], *more), len(arrays[0]), cost)


def cores():
    """How many threads the user allows."""
    return min(_cores_allowed(), config.NUMBA_NUM_THREADS, blas_threads())


def blas_threads():
    """How many threads BLAS takes outside of `share`."""
    return blas.threads() or 1


def _share(work, parts):
    run, count = _Run(work, parts), len(parts)
    try:
        return run.results_of_all()
    finally:
        _end(run.states, count)


# A part is open until a thread claims it: the one that shares (HERE), or a worker (THERE).
OPEN, HERE, THERE, DONE = range(4)
NOTHING = (c_int64 * 1)(OPEN), 0  # instead of (states, i), where no part has been done


class _Run:
    """One call of `share`: its parts, which thread has each, and what came of them."""

    def __init__(self, work, parts):
        self.work, self.parts = work, parts
        self.states = (c_int64 * len(parts))(HERE)  # the first; the others are open
        self.ends = [allocate_lock() for _ in parts]  # held until a worker has done the part
        for end in self.ends:
            end.acquire()
        self.results, self.errors = [None] * len(parts), []
        self.cores = _Cores()
        if LINUX:
            _note_cores(self.cores)

    def results_of_all(self):
        for i, worker in enumerate(_workers_for(len(self.parts) - 1), 1):
            worker.offer(self, i)
        self.results[0] = self.work(self.parts[0])
        for i in range(1, len(self.parts)):
            if _claim(self.states, i, HERE):
                self.results[i] = self.work(self.parts[i])
        for i, end in enumerate(self.ends):
            if self.states[i] == THERE:  # wait for it awake
                _await_change(self.states, i, THERE, FOR_AN_END, *NOTHING)
            if self.states[i] == THERE:  # and then asleep
                end.acquire()
        if self.errors:
            raise self.errors[0]
        return self.results

    def do_there(self, i):
        """Do part i unless it is claimed. Returns what to note as done: (states, i), or NOTHING."""
        if not _claim(self.states, i, THERE):
            return NOTHING
        try:
            self.results[i] = self.work(self.parts[i])
        except BaseException as error:
            self.errors.append(error)
        self.ends[i].release()
        return self.states, i


def _workers_for(count):
    while len(_workers) < count:
        _workers.append(_Worker())
    return _workers[:count]


class _Worker:
    """A thread that waits for work, awake for a while and then asleep.

    Falling asleep and waking take 50 microseconds, so it stays awake for a step's many small parts,
    without the interpreter lock, and yields its core at every look. The system likes to wake a
    thread on its waker's core and to let both take turns: it then moves to another core.
    """

    def __init__(self):
        # Released when there is work, and a count of how often, for a worker that watches.
        self.go, self.count = allocate_lock(), (c_int64 * 1)()
        self.go.acquire()
        self.offers = deque(maxlen=1)  # the thread that offers a part does it if no worker does
        self.serving = allocate_lock()  # held by the thread of this worker
        self.core, self.cores = -1, _Cores()  # where it was last, and where it may be

    def offer(self, run, i):
        if LINUX:
            _settle(run.cores, run.cores, self.core)
        self.offers.append((run, i, _core()))  # where this thread is now: the worker keeps away
        if not self.serving.locked():
            try:
                start_new_thread(self._loop, ())
            except RuntimeError:  # no more threads, or at the end of the program
                return
        # The count comes first: the lock without it would cost the worker its patience every time.
        self.count[0] += 1
        with suppress(RuntimeError):  # released already: to wake it twice is to wake it once
            self.go.release()

    def _loop(self):
        if not self.serving.acquire(blocking=False):
            return  # started twice: an interrupt came before the first one could take the lock
        threading.current_thread().name = "scratchvae"
        done, seen = NOTHING, 0
        while True:
            _await_change(self.count, 0, seen, FOR_WORK, *done)
            self.go.acquire()
            done, seen = NOTHING, self.count[0]
            if self.offers:
                run, i, core = self.offers.pop()
                if LINUX:
                    _settle(self.cores, run.cores, core)
                done = run.do_there(i)
                run = None  # or it would keep the arrays alive
                self.core = _core()


@c_function(VOID(POINTER, INT, INT, INT, POINTER, INT), lets_others_run=True)
def _await_change(integers, i, value, looks, done, part):
    """Note that a part is done, or NOTHING; then watch an integer until it changes, or for so many
    looks. The interpreter lock is free: the thread that waits for the part needs it."""
    exchange(done, part, THERE, DONE)
    for _ in range(looks):
        for _ in range(1000):
            if load(integers, i) != value:
                return
        yield_core()


@c_function(INT(POINTER, INT, INT))
def _claim(states, i, thread):
    """Whether the part was open; it is the thread's now."""
    return exchange(states, i, OPEN, thread) == OPEN


@c_function(VOID(POINTER, INT), lets_others_run=True)
def _end(states, count):
    """Claim what is open, to be left undone, and wait for what is not."""
    for i in range(count):
        exchange(states, i, OPEN, HERE)
    for i in range(count):
        while load(states, i) == THERE:
            yield_core()


# --- Cores: sets of them, a bit for each ----------------------------------------------------------

WORDS = 16  # as in the C library: 1024 cores
_Cores = c_int64 * WORDS


def _cores_allowed():
    return (LINUX and _note_cores(_Cores())) or os.cpu_count() or 1


if LINUX:

    @c_function(INT(POINTER))
    def _note_cores(cores):
        """Write which cores this thread may run on; return how many, 0 where it cannot be known."""
        count = 0
        if get_cores(cores, WORDS) == 0:
            for k in range(WORDS):
                word = cores[k]
                while word != 0:
                    word &= word - 1  # clears its lowest bit
                    count += 1
        return count

    @c_function(VOID(POINTER, POINTER, INT))
    def _settle(own, allowed, core):
        """Let this thread run on `allowed` cores (`own`: now); move it off `core` for now."""
        changed = some = False
        for k in range(WORDS):
            some |= allowed[k] != 0
            changed |= own[k] != allowed[k]
            own[k] = allowed[k]
        if some and 0 <= core < 64 * WORDS and this_core() == core:
            word = own[core // 64]
            own[core // 64] = word & ~(1 << core % 64)
            set_cores(own, WORDS)  # fails if there is no other
            own[core // 64] = word
            changed = True
        if some and changed:
            set_cores(own, WORDS)

    @c_function(INT())
    def _core():
        return this_core()

else:

    def _core():
        return -1


_workers = []  # those of another process have no threads here
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.clear)
