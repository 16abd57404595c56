"""The stand-in for CuPy (tests/on_host) is as strict as a GPU and fails in the same cases."""

import numpy as np
import pytest


@pytest.fixture
def cupy(cupy_on_host):
    cupy_on_host.copies.clear()
    return cupy_on_host


@pytest.fixture
def a(cupy):
    a = cupy.asarray(np.array([1.0, 2.0, 3.0], "float32"))
    cupy.copies.clear()
    return a


# ------------------------------------------------------------------------------ host and device


@pytest.mark.parametrize(
    "mix",
    [
        lambda a: np.asarray(a),
        lambda a: np.array(a, dtype="float64"),
        lambda a: np.exp(a),
        lambda a: np.add(np.ones(3), a),
        lambda a: np.ones(3) + a,
        lambda a: a + np.ones(3),
        lambda a: np.ones((3, 3)) @ a,
        lambda a: a == np.ones(3),
        lambda a: a.__iadd__(np.ones(3)),
        lambda a: a.__setitem__(0, np.ones(1)),
        lambda a: np.ones(3).__setitem__(slice(None), a),
    ],
)
def test_host_and_device_do_not_mix(a, mix):
    with pytest.raises((TypeError, ValueError)):
        mix(a)


def test_numbers_mix_with_arrays(a):
    result = np.float32(2) * a + 1
    assert type(result) is type(a)
    assert result.dtype == "float32"
    assert result.get().tolist() == [3, 5, 7]


@pytest.mark.parametrize(
    ("what", "direction"),
    [
        (lambda cupy, a: a.get(), "to host"),
        (lambda cupy, a: cupy.asnumpy(a), "to host"),
        (lambda cupy, a: float(a[0]), "to host"),
        (lambda cupy, a: int(a[0]), "to host"),
        (lambda cupy, a: bool(a[0] > 0), "to host"),
        (lambda cupy, a: a[0].item(), "to host"),
        (lambda cupy, a: cupy.asarray(np.ones(3)), "to device"),
        (lambda cupy, a: cupy.array([1.0]), "to device"),
        (lambda cupy, a: a.set(np.ones(3, "float32")), "to device"),
    ],
)
def test_copies_are_counted(cupy, a, what, direction):
    what(cupy, a)
    assert cupy.copies == {direction: 1}


def test_work_on_the_device_copies_nothing(cupy, a):
    cupy.exp(a[1:] * 2).sum()
    cupy.array(a)
    cupy.asarray(a)
    assert not cupy.copies


# ------------------------------------------------------------------------------ arrays


def test_fresh_memory_is_nan(cupy, a):
    for fresh in (cupy.empty(3), cupy.empty((2, 3), "float32"), cupy.empty_like(a)):
        assert np.isnan(fresh.get()).all()


def test_one_element_is_a_view(cupy, a):
    last = a[2]
    assert (type(last), last.shape) == (type(a), ())
    last += 7
    assert a.get().tolist() == [1, 2, 10]
    assert type(a.sum()) is type(a)


def test_an_array_of_an_array_is_a_copy(cupy, a):
    assert cupy.asarray(a) is a
    assert not cupy.may_share_memory(cupy.array(a), a)


def test_memory_order(cupy):
    """The memory order is CuPy's, which some functions keep: kernels need row-major arrays."""
    x = cupy.empty((2, 3, 4, 5), "float32").transpose(0, 3, 1, 2)
    for keeps in (cupy.empty_like, cupy.zeros_like, lambda x: x.astype("float64")):
        y = keeps(x)
        assert [s // y.itemsize for s in y.strides] == [s // 4 for s in x.strides]
    for does_not in (cupy.exp, lambda x: x + x, lambda x: x.copy(), cupy.ascontiguousarray):
        assert does_not(x).flags.c_contiguous


def test_kernels_take_no_strides(cupy):
    relu = cupy.RawModule(code="", options=("-DREAL=float",)).get_function("relu_forward")
    arrays = cupy.zeros((2, 3), "float32").T, cupy.zeros((3, 2), "float32")
    with pytest.raises(ValueError, match="relu_forward: an array with strides"):
        relu((1,), (32,), (*arrays, np.int32(6)))


# ------------------------------------------------------------------------------ capture


@pytest.fixture
def pool(cupy):
    """A memory pool for a graph: the common pool cannot be used while a stream captures."""
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        yield pool


def captured(cupy, work):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            result = work()
        finally:
            graph = stream.end_capture()
    return graph, result


def test_a_graph_replays_the_work_on_the_same_memory(cupy, pool):
    from scratchvae.kernels import cuda
    from scratchvae.kernels.cuda.relu import relu_forward

    x = cupy.asarray(np.array([-1.0, 2.0, 3.0]))
    before = cuda_launches(cupy)

    def work():
        y, _ = relu_forward(x)
        y[1:] += 1
        return y * 10

    graph, y = captured(cupy, work)
    assert np.isnan(y.get()).all(), "no work is done during a capture"
    for numbers, expected in ([-1, 2, 3], [0, 30, 40]), ([5, -6, 7], [50, 10, 80]):
        x.set(np.array(numbers, "float64"))
        graph.launch()
        assert y.get().tolist() == expected
    assert cuda_launches(cupy) == before + 1, "a graph is one launch"
    assert cuda.cupy() is cupy


def cuda_launches(cupy):
    return cupy.RawModule(code="", options=("-DREAL=float",)).get_function("any").launches


@pytest.mark.parametrize(
    "wait",
    [
        lambda cupy, a: a.get(),
        lambda cupy, a: float(a[0]),
        lambda cupy, a: bool(a[0]),
        lambda cupy, a: cupy.cuda.Device().synchronize(),
        lambda cupy, a: cupy.cuda.get_current_stream().synchronize(),
        lambda cupy, a: cupy.cuda.Event().synchronize(),
    ],
)
def test_nobody_waits_during_capture(cupy, pool, wait):
    a = cupy.zeros(3)
    wait(cupy, a)
    with pytest.raises(RuntimeError, match="Capture"):
        captured(cupy, lambda: wait(cupy, a))
    wait(cupy, a)


def test_the_common_pool_is_closed_during_capture(cupy, a):
    with pytest.raises(RuntimeError, match="common pool"):
        captured(cupy, lambda: cupy.empty(3))
    with pytest.raises(RuntimeError, match="common pool"):
        captured(cupy, lambda: a + a)
    assert cupy.empty(3).shape == (3,)


# ------------------------------------------------------------------------------ memory


def test_a_pool_has_a_limit(cupy, pool):
    pool.set_limit(1000)
    a = cupy.zeros(100)
    assert pool.used_bytes() == 800
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="limit"):
        cupy.zeros(100)
    view = a[10:20].reshape(2, 5).T
    del a
    assert pool.used_bytes() == 800, "a view still uses the memory"
    assert view.sum() == 0
    del view
    assert pool.used_bytes() == 0
    cupy.zeros(125)


def test_pools_are_apart(cupy):
    common = cupy.get_default_memory_pool().used_bytes()
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        a = cupy.zeros(100)
    assert pool.used_bytes() == 800
    b = cupy.zeros(10)
    assert cupy.get_default_memory_pool().used_bytes() == common + 80
    del a, b
    assert pool.used_bytes() == 0
    assert cupy.get_default_memory_pool().used_bytes() == common
