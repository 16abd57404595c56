"""Divide the images of a batch among the processor's cores.

    def work(part):                 # part: a slice of range(count)
        np.matmul(x[part], w, out=y[part])

    share(work, count, cost)        # cost: roughly the nanoseconds it would take on one core
    sum(share(work, count, cost))   # the results of work, a list in the order of the parts

Two thread pools in turn, that of BLAS and one for the loops, would slow each other down: a thread
that has finished a product spins on a core that the other pool needs. Here each core takes its own
images through loops and products alike, BLAS has a single thread inside `share`, and kernels do not
call BLAS anywhere else.

The threads are Python threads; NumPy, BLAS and the compiled loops release the interpreter lock.
There is one per core, or fewer after NUMBA_NUM_THREADS, BLAS's limit (OPENBLAS_NUM_THREADS,
OMP_NUM_THREADS, threadpoolctl) or this thread's set of cores; one if BLAS is not OpenBLAS.

A part belongs to the thread that claims it. The calling thread offers all parts but the first to
workers and does those that no worker has begun, so it never waits for a busy or sleeping worker.
`share` may be called inside work, by several threads or by a signal handler. The parts, and the
order of their sums, do not depend on which threads are free.

When a Ctrl-C leaves `share`, no part is running and none will begin; see atomic.py.
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

SMALL = 80_000  # nanoseconds: below this cost, starting a second core takes too long
# How often a thread polls, about a microsecond each time, before it goes to sleep: for new work as
# long as a training step takes; for the end of a part less, as its worker may need this core.
FOR_WORK, FOR_AN_END = 5000, 1000


def share(work, count, cost):
    """The results of work(part) for slices of range(count), one per core (one if cost is small)."""
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
    """How many threads BLAS uses outside of `share`."""
    return blas.threads() or 1


def _share(work, parts):
    run, count = _Run(work, parts), len(parts)
    try:
        return run.results_of_all()
    finally:
        _end(run.states, count)


# A part is open until a thread claims it: the calling thread (HERE) or a worker (THERE).
OPEN, HERE, THERE, DONE = range(4)
NOTHING = (c_int64 * 1)(OPEN), 0  # in place of (states, i), if no part has been done


class _Run:
    """One call of `share`: its parts, their states, results and errors."""

    def __init__(self, work, parts):
        self.work, self.parts = work, parts
        self.states = (c_int64 * len(parts))(HERE)  # the first is HERE, the others are OPEN
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
            if self.states[i] == THERE:  # first poll
                _await_change(self.states, i, THERE, FOR_AN_END, *NOTHING)
            if self.states[i] == THERE:  # then sleep
                end.acquire()
        if self.errors:
            raise self.errors[0]
        return self.results

    def do_there(self, i):
        """Do part i unless it is claimed. Return what to mark as done: (states, i), or NOTHING."""
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
    """A thread that waits for work: it polls for a while, then sleeps.

    Going to sleep and waking up take 50 microseconds, so it keeps polling during a step of many
    small parts, without the interpreter lock, and yields its core each time. The system often wakes
    a thread on the core of the thread that woke it; the worker then moves to another core.
    """

    def __init__(self):
        # `go` is released when there is work; `count`, for a worker that polls, says how often.
        self.go, self.count = allocate_lock(), (c_int64 * 1)()
        self.go.acquire()
        self.offers = deque(maxlen=1)  # a lost offer is harmless: the calling thread does the part
        self.serving = allocate_lock()  # held by the thread of this worker
        self.core, self.cores = -1, _Cores()  # its last core, and those it may run on

    def offer(self, run, i):
        if LINUX:
            _settle(run.cores, run.cores, self.core)
        self.offers.append((run, i, _core()))  # this thread's core, which the worker avoids
        if not self.serving.locked():
            try:
                start_new_thread(self._loop, ())
            except RuntimeError:  # no more threads, or at the end of the program
                return
        # The count comes first: a worker that noted the old count would later sleep without polling
        self.count[0] += 1
        with suppress(RuntimeError):  # already released: one release is enough
            self.go.release()

    def _loop(self):
        if not self.serving.acquire(blocking=False):
            return  # already started: an interrupt came before that thread could take the lock
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
                run = None  # otherwise the variable would keep the arrays alive
                self.core = _core()


@c_function(VOID(POINTER, INT, INT, INT, POINTER, INT), lets_others_run=True)
def _await_change(integers, i, value, looks, done, part):
    """Mark a part (or NOTHING) as done; then poll an integer until it changes, at most `looks`
    times. The interpreter lock is free: the thread that waits for the part needs it."""
    exchange(done, part, THERE, DONE)
    for _ in range(looks):
        for _ in range(1000):
            if load(integers, i) != value:
                return
        yield_core()


@c_function(INT(POINTER, INT, INT))
def _claim(states, i, thread):
    """Claim the part for the thread if it is open; return whether it was."""
    return exchange(states, i, OPEN, thread) == OPEN


@c_function(VOID(POINTER, INT), lets_others_run=True)
def _end(states, count):
    """Claim the open parts, which are then never done, and wait for the parts of workers."""
    for i in range(count):
        exchange(states, i, OPEN, HERE)
    for i in range(count):
        while load(states, i) == THERE:
            yield_core()


# --- Sets of cores, as bit masks ------------------------------------------------------------------

WORDS = 16  # as in the C library: 1024 cores
_Cores = c_int64 * WORDS


def _cores_allowed():
    return (LINUX and _note_cores(_Cores())) or os.cpu_count() or 1


if LINUX:

    @c_function(INT(POINTER))
    def _note_cores(cores):
        """Write which cores this thread may run on; return how many, or 0 if that is unknown."""
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
        """Let this thread run on the `allowed` cores (`own`: so far), and move it off `core`."""
        changed = some = False
        for k in range(WORDS):
            some |= allowed[k] != 0
            changed |= own[k] != allowed[k]
            own[k] = allowed[k]
        if some and 0 <= core < 64 * WORDS and this_core() == core:
            word = own[core // 64]
            own[core // 64] = word & ~(1 << core % 64)
            set_cores(own, WORDS)  # fails if there is no other core
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


_workers = []  # a forked child clears the list, because the threads do not exist there
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.clear)
