"""Reused memory: never while an array still uses it, and returned to the system at the end."""

import gc
import os
import sys
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae.kernels.cpu.runtime import memory
from scratchvae.train import train_step

SHAPE = (64, 1024)  # 256 kB: large enough to be kept


@pytest.fixture(autouse=True)
def nothing_kept():
    gc.collect()
    memory.release()
    yield
    memory.release()


def kept():
    return sum(map(len, memory._free.values()))


def address(a):
    return a.__array_interface__["data"][0]


def test_a_block_comes_back_when_its_last_view_dies():
    a = memory.empty(SHAPE, np.float32)
    here, view = address(a), a[3:5].T
    view[...] = 7
    del a
    b = memory.empty(SHAPE, np.float32)
    b[...] = 0
    assert address(b) != here and (view == 7).all()
    del view
    assert address(memory.empty(SHAPE, np.float32)) == here


def test_two_arrays_never_get_the_same_block():
    address(memory.empty(SHAPE, np.float32))  # its block becomes free
    a, b = memory.empty(SHAPE, np.float32), memory.empty(SHAPE, np.float32)
    assert not np.shares_memory(a, b)


def test_a_little_smaller_takes_the_same_block_and_a_lot_smaller_does_not():
    here = address(memory.empty((1000, 128), np.float32))
    assert address(memory.empty((900, 128), np.float32)) == here
    assert address(memory.empty((400, 128), np.float32)) != here


def test_a_block_has_a_power_of_two_of_bytes():
    """From half a large page on, a block therefore consists of whole large pages."""
    half = memory.HUGE_PAGE // 2
    arrays = [memory.empty((size,), np.uint8) for size in (half, half + 1, 2 * half + 1)]
    assert [a.base.end.block.bytes.size for a in arrays] == [half, 2 * half, 4 * half]


def test_sizes_that_numpy_computed_are_sizes():
    assert memory.empty((np.int64(1000), np.int32(128)), np.float32).shape == (1000, 128)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_arrays_are_what_numpy_would_make(dtype):
    a = memory.empty(SHAPE, dtype)
    expected = np.empty(SHAPE, dtype)
    assert (a.shape, a.dtype, a.strides) == (expected.shape, expected.dtype, expected.strides)
    assert a.flags.writeable and a.flags.c_contiguous and address(a) % 64 == 0
    assert (memory.zeros(SHAPE, dtype) == 0).all()


def test_memory_order_is_kept():
    nchw = np.zeros((2, 3, 4, 5)).transpose(0, 3, 1, 2)
    assert memory.empty_like(nchw).strides == nchw.strides
    spread = np.zeros((4, 6, 8))[::2, ::2, ::2]
    assert memory.empty_like(spread).flags.c_contiguous
    rows = memory.images_as_rows(nchw)
    assert rows.shape == (2, 60) and np.shares_memory(rows, nchw)


def test_release_gives_back_at_once_what_is_free_and_later_what_is_not():
    a, b = memory.empty(SHAPE, np.float32), memory.empty(SHAPE, np.float32)
    del a
    (before,) = memory._free.values()
    assert len(before) == kept() == 1
    memory.release()
    assert len(before) == kept() == 0
    del b
    assert len(before) == kept() == 0


def test_release_while_another_thread_takes_memory_of_new_sizes():
    errors, over = [], threading.Event()

    def take():
        try:
            while not over.is_set():
                memory.release()
                for bits in range(17, 22):
                    memory.empty((1 << bits,), np.uint8)
        except RuntimeError as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    over.wait(0.5)
    over.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert errors == []


def test_the_end_of_an_array_runs_no_python():
    """In a finalizer, a Ctrl-C would be printed and ignored. Before and after `release`."""
    a, b = memory.empty(SHAPE, np.float32), memory.empty(SHAPE, np.float32)
    calls = []
    sys.setprofile(lambda frame, event, what: calls.append((frame.f_code.co_name, event)))
    a = None
    sys.setprofile(None)
    memory.release()
    sys.setprofile(lambda frame, event, what: calls.append((frame.f_code.co_name, event)))
    b = None
    sys.setprofile(None)
    assert a is b is None
    assert [call for call in calls if call[1] == "call"] == []


def test_a_second_forward_leaves_the_first_result_intact():
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, 16, 8, 28, 28)).astype("float32")
    w = rng.standard_normal((8, 8, 3, 3)).astype("float32")
    with sv.using("numba"):
        y, _ = sv.ops.conv2d_forward(x, w, None, 1, 1)
        kept = y.copy()
        z, _ = sv.ops.conv2d_forward(other, w, None, 1, 1)
        assert not np.shares_memory(y, z)
    assert_array_equal(y, kept)


def test_a_model_leaves_no_memory_behind():
    rng = np.random.default_rng(0)
    with sv.using("numba"):
        model = sv.models.build("conv")
        optimizer = sv.optim.Adam(model)
        x = rng.random((32, 1, 28, 28), "float32")
        train_step(model, optimizer, x, model.noise(32, rng))
        assert kept()
        del model, optimizer
        gc.collect()
    assert not kept()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_arrays_of_its_own():
    """Two training runs forked from one process once overwrote each other's activations."""
    a = memory.empty(SHAPE, np.float32)
    a[:] = 1
    child = os.fork()
    if child == 0:
        a[:] = 2
        os._exit(0)
    os.waitpid(child, 0)
    assert_array_equal(a, 1)


def test_scratch_memory_stays_with_its_thread():
    """The memory is in one core's cache, and while it is in use, no other array gets it."""
    a, b = (memory.scratch(SHAPE, np.float32) for _ in range(2))
    assert not np.shares_memory(a, b)
    here = address(b)
    del b
    assert address(memory.empty(SHAPE, np.float32)) != here
    found = []
    thread = threading.Thread(target=lambda: found.append(address(memory.scratch(SHAPE, "f"))))
    thread.start()
    thread.join()
    (elsewhere,) = found
    assert elsewhere != here
    assert address(memory.scratch(SHAPE, np.float32)) == here
    large = memory.KEPT + 1
    here = address(memory.scratch((large,), np.uint8))
    assert address(memory.empty((large,), np.uint8)) == here
    memory.release()
    del a
    assert not kept()
