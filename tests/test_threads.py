"""Sharing work between cores: all of it done, once, whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from scratchvae.kernels.cpu import threads
from scratchvae.kernels.cpu.threads import share

LONG = 1e9  # nanoseconds: worth sharing


@pytest.fixture(params=[1, 2, 3])
def cores(request, monkeypatch):
    """So many threads, however many cores this machine has."""
    monkeypatch.setattr(threads, "cores", lambda: request.param)
    return request.param


@pytest.mark.parametrize("count", [1, 2, 3, 7, 128])
def test_parts_make_up_the_whole(cores, count):
    parts = []
    share(parts.append, count, LONG)
    assert len(parts) == min(cores, count)
    assert sorted(i for part in parts for i in range(count)[part]) == list(range(count))


def test_two_threads_work_side_by_side(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    meeting = threading.Barrier(2, timeout=10)  # breaks if the parts come one after the other
    share(lambda part: meeting.wait(), 2, LONG)


def test_small_work_stays_on_this_thread(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    names = []
    share(lambda part: names.append(threading.current_thread()), 2, threads.SMALL - 1)
    assert names == [threading.current_thread()]


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_in_any_part_arrives_after_all_are_done(monkeypatch, which):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    done = []

    def work(part):
        if part.start == which:
            raise ValueError(f"part {which}")
        time.sleep(0.05)
        done.append(part)

    with pytest.raises(ValueError, match=f"part {which}"):
        share(work, 2, LONG)
    assert len(done) == 1
    share(done.append, 2, LONG)  # and the threads are still good
    assert len(done) == 3


def test_work_may_share_work(cores):
    inner = []
    share(lambda part: share(inner.append, 4, LONG), 4, LONG)
    assert sum(part.stop - part.start for part in inner) == 4 * min(cores, 4)


def test_python_threads_may_share_at_once(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    totals = np.zeros((4, 1000))

    def user(k):
        def work(part):
            totals[k, part] += 1

        for _ in range(200):
            share(work, 1000, LONG)

    users = [threading.Thread(target=user, args=(k,)) for k in range(4)]
    for each in users:
        each.start()
    for each in users:
        each.join()
    assert_array_equal(totals, 200)


def test_blas_has_one_thread_inside_and_what_it_had_outside():
    blas = threads._single_threaded_blas
    if blas._get is None:
        pytest.skip("this BLAS cannot be limited")
    before = blas._get()
    seen = []
    share(lambda part: seen.append(blas._get()), 2, LONG)
    with blas, blas:
        seen.append(blas._get())
    assert set(seen) == {1}
    assert blas._get() == before


@pytest.mark.parametrize(
    "variable", ["NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"]
)
def test_a_limit_set_by_the_user_holds(variable):
    code = "from scratchvae.kernels.cpu.threads import cores; print(cores())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**_unlimited(), variable: "1"},
    )
    assert run.stdout == "1\n", run.stderr


def _unlimited():
    limits = {"NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
    return {name: value for name, value in os.environ.items() if name not in limits}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_has_threads_of_its_own():
    """In a process that has threads already; the child's are gone, and it makes new ones."""
    code = """
import os
from scratchvae.kernels.cpu import threads
threads.cores = lambda: 2
parts = []
threads.share(parts.append, 2, 1e9)
child = os.fork()
threads.share(parts.append, 2, 1e9)
if child == 0:
    os._exit(len(parts))
print(len(parts), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "4 4\n", run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_waits_for_the_other_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    done = []

    def work(part):
        if part.start == 0:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        done.append(part)

    # Whoever starts the tests in the background may have told them to ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            share(work, 2, LONG)
    finally:
        signal.signal(signal.SIGINT, before)
    assert slice(1, 2) in done
