"""Sharing work among cores: all parts are done exactly once, whatever happens meanwhile."""

import ctypes
import dis
import inspect
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from harness import convolutions
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.kernels.cpu.convolution.correlate import ALGORITHMS
from scratchvae.kernels.cpu.runtime import blas, memory, threads
from scratchvae.kernels.cpu.runtime.threads import share
from scratchvae.models import MODELS, build
from scratchvae.optim import Adam
from scratchvae.train import evaluate_sampled, train_step

LONG = 1e9  # nanoseconds: worth sharing


@pytest.fixture(params=[1, 2, 3])
def cores(request, monkeypatch):
    """This many threads, on a machine with any number of cores."""
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
    meeting = threading.Barrier(2, timeout=10)  # breaks if the parts run one after the other
    share(lambda part: meeting.wait(), 2, LONG)


def test_small_work_stays_on_this_thread(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    names = []
    share(lambda part: names.append(threading.current_thread()), 2, threads.SMALL - 1)
    assert names == [threading.current_thread()]


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_in_any_part_arrives_when_none_is_running(monkeypatch, which):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    begun, done, together = [], [], threading.Barrier(2, timeout=10)

    def work(part):
        begun.append(part)
        together.wait()
        if part.start == which:
            raise ValueError(f"part {which}")
        time.sleep(0.05)
        done.append(part)

    with pytest.raises(ValueError, match=f"part {which}"):
        share(work, 2, LONG)
    assert len(begun) == 2 and len(done) == 1
    share(done.append, 2, LONG)  # the threads still work
    assert len(done) == 3


def test_a_part_that_no_worker_has_begun_is_left_undone_after_an_error(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "_workers", [])
    monkeypatch.setattr(threads, "start_new_thread", lambda *_: None)
    begun = []

    def work(part):
        begun.append(part)
        raise ValueError

    with pytest.raises(ValueError):
        share(work, 2, LONG)
    run, i, _ = threads._workers[0].offers.pop()
    run.do_there(i)  # too late
    assert begun == [slice(0, 1)]


@pytest.mark.parametrize("refused", [False, True])
def test_without_any_worker_this_thread_does_all(monkeypatch, refused):
    """If the system gives no more threads, or the worker never wakes up."""

    def start_new_thread(*_):
        if refused:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "cores", lambda: 3)
    monkeypatch.setattr(threads, "_workers", [])
    monkeypatch.setattr(threads, "start_new_thread", start_new_thread)
    assert share(lambda part: part.start, 3, LONG) == [0, 1, 2]


def test_a_worker_that_is_started_twice_is_one_thread(monkeypatch):
    """An interrupt between the start of a thread and its first line makes `share` start another."""
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "_workers", [])
    share(lambda part: None, 2, LONG)
    worker = threads._workers[0]
    while not worker.serving.locked():
        time.sleep(0.001)
    second = threading.Thread(target=worker._loop, daemon=True)
    second.start()
    second.join(timeout=5)
    assert not second.is_alive()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_how_parts_are_cut_does_not_depend_on_who_is_busy(cores, count):
    """So sums over the parts are bit-identical, whatever other threads do."""
    alone = share(lambda part: part, count, LONG)
    inner = []
    share(lambda _: inner.append(share(lambda part: part, count, LONG)), 4, LONG)
    assert all(parts == alone for parts in inner)


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


def _blas_threads_now():
    return ctypes.PYFUNCTYPE(ctypes.c_int)(blas._state[blas.GET])()


@pytest.mark.skipif(not blas.threads(), reason="this BLAS cannot be limited")
def test_blas_has_one_thread_inside_and_what_it_had_outside():
    before, seen = _blas_threads_now(), []
    share(lambda part: seen.append(_blas_threads_now()), 2, LONG)
    entries = blas.Entry(), blas.Entry()
    for entry in (*entries, entries[0]):  # the third one has no effect
        blas.enter(entry)
        seen.append(_blas_threads_now())
        assert blas.threads() == before
    blas.leave(entries[1])
    blas.leave(entries[1])  # this has no effect either
    seen.append(_blas_threads_now())
    blas.leave(entries[0])
    assert set(seen) == {1}
    assert _blas_threads_now() == before


def printed_by(code, **environment):
    """Standard output of this program in a process without limits on threads but these."""
    limits = {"NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
    unlimited = {name: value for name, value in os.environ.items() if name not in limits}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env=unlimited | environment,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "variable", ["NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"]
)
def test_a_limit_set_by_the_user_holds(variable):
    code = "from scratchvae.kernels.cpu.runtime.threads import cores; print(cores())"
    assert printed_by(code, **{variable: "1"}) == "1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENBLAS_NUM_THREADS", "0"),
        ("OPENBLAS_NUM_THREADS", "all"),
        ("OMP_NUM_THREADS", "four"),
        ("OMP_NUM_THREADS", "2,1"),
        ("NUMBA_NUM_THREADS", "many"),
        ("NUMBA_NUM_THREADS", "1000"),
        ("NUMBA_CACHE_DIR", "/dev/null/nowhere"),
    ],
)
def test_a_limit_that_is_none_does_no_harm(variable, value):
    code = """
import numpy as np, scratchvae as sv
from scratchvae.runs import environment
sv.use("numba")
print(sv.ops.linear_forward(np.ones((2, 3)), np.ones((4, 3)))[0].sum())
assert environment.threads()["threads"] >= 1
"""
    assert printed_by(code, **{variable: value}) == "24.0\n"


@pytest.mark.skipif(not blas.threads(), reason="this BLAS cannot be limited")
def test_a_limit_of_blas_set_later_holds():
    before = _blas_threads_now()
    set_threads = ctypes.PYFUNCTYPE(None, ctypes.c_int)(blas._state[blas.SET])
    try:
        set_threads(1)
        assert threads.cores() == 1 == blas.threads()
        assert len(share(lambda part: part, 2, LONG)) == 1
        assert _blas_threads_now() == 1
    finally:
        set_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's sets of cores")
def test_cores_taken_away_later_are_not_used(monkeypatch):
    """Not even by a worker that has run on them before."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        pytest.skip("one core")
    monkeypatch.setattr(threads, "_workers", [])
    one = {min(allowed)}

    def where(part):
        together.wait()
        return os.sched_getaffinity(0)

    together = threading.Barrier(2, timeout=10)
    cores_now = threads.cores
    monkeypatch.setattr(threads, "cores", lambda: 2)
    assert share(where, 2, LONG) == [allowed, allowed]
    try:
        os.sched_setaffinity(0, one)
        monkeypatch.setattr(threads, "blas_threads", lambda: 2)  # for any number of threads
        assert cores_now() == 1
        assert share(where, 2, LONG) == [one, one]
    finally:
        os.sched_setaffinity(0, allowed)
    assert share(where, 2, LONG) == [allowed, allowed]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's sets of cores")
def test_a_thread_that_steps_aside_may_come_back():
    allowed = os.sched_getaffinity(0)
    own, cores_ = threads._Cores(), threads._Cores()
    assert threads._note_cores(cores_) == len(allowed)
    for _ in range(3):
        threads._settle(own, cores_, threads._core())
        assert os.sched_getaffinity(0) == allowed and list(own) == list(cores_)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_has_threads_of_its_own():
    """In a process that already has threads: the child has none of them and starts new ones."""
    code = """
import os
import scratchvae as sv
from scratchvae import ops
from scratchvae.kernels.cpu.runtime import blas, memory, threads
threads.cores = lambda: 2
parts = []
threads.share(parts.append, 2, 1e9)
child = os.fork()
threads.share(parts.append, 2, 1e9)
if child == 0:
    os._exit(len(parts))
print(len(parts), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert printed_by(code) == "4 4\n"


@pytest.fixture
def ctrl_c():
    """Programs in the background of a shell ignore Ctrl-C by default; this enables it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


signals = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@signals
@pytest.mark.parametrize("sender", [0, 1])
def test_ctrl_c_waits_for_the_other_cores(monkeypatch, ctrl_c, sender):
    """The interrupt comes while this thread works (part 0), or while it sleeps until the other
    thread is done (part 1): then it is raised after that, and is not lost."""
    monkeypatch.setattr(threads, "cores", lambda: 2)
    done, together = [], threading.Barrier(2, timeout=10)

    def work(part):
        together.wait()
        if part.start == sender:
            time.sleep(0.1 * sender)
            os.kill(os.getpid(), signal.SIGINT)
        if part.start == 1:
            time.sleep(0.2)
            done.append(part)

    with pytest.raises(KeyboardInterrupt):
        share(work, 2, LONG)
    assert done == [slice(1, 2)]


def _looks_for_signals(code):
    """Offsets of bytecodes before which CPython 3.11 to 3.13 checks for signals. An exception of a
    signal counts as raised by the previous bytecode; if another handler would then catch it, a
    trace function cannot simulate the interrupt."""

    def handler(offset):
        return [e.target for e in dis._parse_exception_table(code) if e.start <= offset < e.end]

    for before, after in itertools.pairwise(dis.get_instructions(code)):
        looks = before.opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
        if looks and handler(before.offset) == handler(after.offset):
            yield after.offset


@pytest.fixture(scope="module")
def places():
    """Code of `share` and `empty` -> the bytecodes at which an interrupt may come."""
    functions = [f for m in (threads, memory) for f in vars(m).values() if inspect.isfunction(f)]
    for kind in (threads._Run, threads._Worker, memory._Block, memory._Lease):
        functions += [f for f in vars(kind).values() if inspect.isfunction(f)]
    codes = [f.__code__ for f in functions]
    codes += [c for code in codes for c in code.co_consts if inspect.iscode(c)]
    return {code: set(_looks_for_signals(code)) for code in codes}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="shows a trace function few bytecodes")
@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_at_any_bytecode_leaves_nothing_behind(monkeypatch, places, fails):
    """At every bytecode where Python checks for signals while work is shared, one after the other;
    also while an exception propagates, such as an earlier interrupt."""
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "_workers", [])
    begun, running, failing = threading.Event(), [], False

    def work(part):
        y = memory.empty((1 << 15,), np.float32)
        y[:] = part.start
        if threading.current_thread() is threading.main_thread():
            begun.wait(timeout=0.1)
            if failing:
                raise ValueError
        else:
            running.append(part)
            begun.set()
            time.sleep(0.002)
            running.remove(part)
        return y.sum()

    share(work, 2, LONG)
    before = blas.threads(), _affinity(), _number_of_threads()
    for n in itertools.count():
        passed = 0

        def trace(frame, event, _, n=n):
            nonlocal passed
            if frame.f_code not in places:
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            if event == "opcode" and frame.f_lasti in places[frame.f_code]:
                passed += 1
                if passed == n + 1:
                    raise KeyboardInterrupt
            return trace

        caught, failing = False, fails
        begun.clear()
        sys.settrace(trace)
        try:
            share(work, 2, LONG)
        except ValueError:
            assert fails
        except KeyboardInterrupt:
            caught = True
        finally:
            sys.settrace(None)
        failing = False
        assert not running and blas._state[blas.INSIDE] == 0
        assert (blas.threads(), _affinity(), _number_of_threads()) == before
        assert share(work, 2, LONG) == [0, 1 << 15]
        assert caught == (passed > n), "the interrupt was lost"
        if not caught:
            break
    assert n > 30


def _number_of_threads():
    return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0


def _affinity():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


# --- models in several threads --------------------------------------------------------------------


def _small_model(name, seed, monkeypatch):
    if name in ("celeba", "skip"):
        monkeypatch.setattr(f"scratchvae.models.{name}.CHANNELS", (8, 16, 16, 16, 16))
    return build(name, seed=seed)


def _trains(name, seed, monkeypatch):
    """A job that trains a new model and returns the bits of all gradients and losses."""

    def job():
        model = _small_model(name, seed, monkeypatch)
        optimizer, rng = Adam(model, lr=1e-3), np.random.default_rng(seed)
        low, high = model.data_range
        x = low + (high - low) * rng.random((19, *model.image_shape), "float32")
        bits = []
        for _ in range(3):
            losses = train_step(model, optimizer, x, model.noise(len(x), rng), max_norm=1.0)
            bits += [np.array(losses).tobytes(), sha256(model.flat_grad.tobytes()).digest()]
        return bits

    return job


def _evaluates(name, seed, monkeypatch):
    def job():
        model = _small_model(name, seed, monkeypatch)
        images = np.random.default_rng(seed).integers(0, 256, (19, *model.image_shape), "uint8")
        return evaluate_sampled(model, images, np.random.default_rng(seed), batch_size=10)

    return job


@contextmanager
def _products_meanwhile():
    """Another thread multiplies matrices with NumPy, on all of BLAS's threads."""
    a, over = np.ones((300, 300), "float32"), threading.Event()

    def multiply():
        while not over.wait(0.001):
            a @ a

    thread = threading.Thread(target=multiply)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _together(jobs):
    """The results of the jobs, each in a thread of its own; the threads take turns often."""
    results, start = [None] * len(jobs), threading.Barrier(len(jobs), timeout=60)

    def run(k):
        start.wait()
        results[k] = jobs[k]()

    users = [threading.Thread(target=run, args=(k,)) for k in range(len(jobs))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for user in users:
            user.start()
        for user in users:
            user.join()
    finally:
        sys.setswitchinterval(interval)
    return results


@pytest.mark.parametrize("others", ["one trains", "one evaluates", "two train", "NumPy's products"])
@pytest.mark.parametrize(
    ("engine_name", "name"),
    [
        ("numba", "conv"),
        pytest.param("numpy", "conv", marks=pytest.mark.slow),  # nothing limits BLAS there
        *(pytest.param("numba", name, marks=pytest.mark.slow) for name in MODELS if name != "conv"),
    ],
)
def test_models_in_several_threads_give_the_bits_of_each_alone(
    monkeypatch, engine_name, name, others
):
    """BLAS's limit within `share`, seen by another thread, must not change how its work is cut."""
    jobs = [_trains(name, 0, monkeypatch)]
    if others == "one evaluates":
        jobs.append(_evaluates(name, 1, monkeypatch))
    else:
        more = {"one trains": 1, "two train": 2}.get(others, 0)
        jobs += [_trains(name, 1 + k, monkeypatch) for k in range(more)]
    meanwhile = _products_meanwhile() if others == "NumPy's products" else nullcontext()
    with sv.using(engine_name):
        alone = [job() for job in jobs]
        with meanwhile:
            for _ in range(3):
                assert _together(jobs) == alone


@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_op_may_be_computed_amid_another(op, algorithm):
    """At every call of a kernel function, as a signal handler or a finalizer may do."""
    rng = np.random.default_rng(0)
    x, w, other = rng.standard_normal((3, 6, 8, 16, 16)).astype("float32")
    w = np.ascontiguousarray(w[:, :, :3, :3])[[0, 1, 2, 3, 4, 5, 0, 1]]
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")

    def bits(x):
        y, cache = forward(x, w, None, 1, 1)
        return [sha256(a.tobytes()).hexdigest() for a in (y, *backward(y, cache)[:2])]

    folder, calls, n = str(Path(threads.__file__).parent), 0, -1

    def trace(frame, event, _):
        nonlocal calls
        if frame.f_code.co_filename.startswith(folder):
            calls += 1
            if calls == n:
                assert bits(other) == expected_other

    with sv.using("numba"), convolutions(algorithm):
        expected, expected_other = bits(x), bits(other)
        for n in itertools.count(1):
            calls = 0
            sys.settrace(trace)
            try:
                assert bits(x) == expected
            finally:
                sys.settrace(None)
            if calls < n:
                break
    assert n > 20


@signals
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "count"),
    [("raising", 200), ("computing", 150), ("raising", 5000), ("computing", 2000)],
)
def test_interrupts_at_random_instants(kind, count):
    """Two threads compute ops and are interrupted by Ctrl-C, or by a handler that computes."""
    limit = 60 + count / 10
    script = Path(__file__).with_name("interrupts.py")
    run = subprocess.run(
        [sys.executable, str(script), kind, str(count), "0", str(limit)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["wrong"] == [] and report["written after the interrupt"] == 0
    assert report["after"] == report["before"]
    assert report["handled"] == count
    assert report["caught"] == (count if kind == "raising" else 0)
