import os
import subprocess
import sys
import types

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import backend
from scratchvae.ops import max_pool2d_backward, max_pool2d_forward, relu_forward


class FakeGpuArray:
    """Looks like a CuPy array to a function that checks the module of the type."""

    __module__ = "cupy"
    dtype, size, shape, ndim = np.dtype("float32"), 4, (4,), 1


@pytest.fixture
def no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # import cupy raises ImportError


def fake_cupy(monkeypatch, **members):
    module = types.ModuleType("cupy")
    module.__version__ = "14.0"
    for name, value in members.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "cupy", module)


def test_use_says_which_engine_it_chose():
    assert sv.use("numpy") == "numpy" == backend.current_engine()
    assert sv.use("numba") == "numba" == backend.current_engine()


def test_unknown_engine():
    with pytest.raises(ValueError, match="use: engine must be 'auto', 'numpy', .*; got 'tpu'"):
        sv.use("tpu")


@pytest.mark.parametrize("name", ["cuda", "cupy"])
def test_cuda_without_cupy_says_what_to_install(no_cupy, name):
    with pytest.raises(RuntimeError, match=r"use\('cuda'\): CuPy is not installed: pip install -e"):
        sv.use(name)


def test_cuda_without_a_device(monkeypatch):
    fake_cupy(monkeypatch, cuda=types.SimpleNamespace(is_available=lambda: False))
    with pytest.raises(RuntimeError, match=r"CuPy 14.0 is installed, but finds no CUDA device"):
        sv.use("cuda")


def test_cuda_with_a_broken_driver(monkeypatch):
    def ones(*_):
        raise OSError("libcuda.so: wrong version")

    fake_cupy(monkeypatch, cuda=types.SimpleNamespace(is_available=lambda: True), ones=ones)
    with pytest.raises(RuntimeError, match=r"test kernel failed \(OSError: libcuda.so: wrong"):
        sv.use("cuda")


def test_a_refused_engine_leaves_the_old_one(no_cupy):
    sv.use("numba")
    with pytest.raises(RuntimeError):
        sv.use("cuda")
    assert backend.current_engine() == "numba"


def test_auto_takes_numba_without_a_gpu_and_says_so_once(no_cupy, capsys):
    backend._announced = False
    assert sv.use("auto") == "numba"
    said = capsys.readouterr().err
    assert said.startswith("scratchvae: engine numba (no GPU: CuPy is not installed: pip install")
    assert said.count("\n") == 1
    assert sv.use("auto") == "numba"
    assert capsys.readouterr().err == ""


@pytest.fixture
def broken_numba(monkeypatch):
    """Numba is installed, but importing it fails, as with a NumPy version that is too new."""
    monkeypatch.setitem(sys.modules, "numba", None)
    backend.numba_problem.cache_clear()
    backend.find_kernel.cache_clear()
    yield
    backend.numba_problem.cache_clear()
    backend.find_kernel.cache_clear()


def test_a_broken_numba_is_said_and_left_aside(no_cupy, broken_numba, capsys):
    with pytest.raises(RuntimeError, match=r"use\('numba'\): Numba cannot be .*pip install"):
        sv.use("numba")
    backend._announced = False
    assert sv.use("auto") == "numpy"
    assert "Numba cannot be imported" in capsys.readouterr().err
    from scratchvae.commands.kernels import kernels

    assert "numba is not available: Numba cannot be imported" in kernels()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NUMBA_DISABLE_JIT", "1", "NUMBA_DISABLE_JIT is set, so the kernels cannot be compiled"),
        ("NUMBA_NUM_THREADS", "0", "NUMBA_NUM_THREADS=0: change or unset it"),
        ("NUMBA_NUM_THREADS", "-2", "NUMBA_NUM_THREADS=-2: change or unset it"),
    ],
)
def test_settings_with_which_numba_cannot_work(variable, value, said):
    """One sentence, and auto chooses numpy."""
    code = """
import numpy as np, scratchvae as sv
try:
    sv.use("numba")
except RuntimeError as error:
    print(error)
print(sv.use("auto"), sv.ops.linear_forward(np.ones((2, 3)), np.ones((4, 3)))[0].sum())
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {variable: value, "CUDA_VISIBLE_DEVICES": ""},
    )
    first, last = run.stdout.splitlines()
    assert first.startswith("use('numba'): ") and said in first
    assert last == "numpy 24.0"
    assert said in run.stderr and run.stderr.count("\n") == 1


def test_using_lasts_for_a_block():
    sv.use("numba")
    with pytest.raises(KeyError), sv.using("numpy") as engine:
        assert engine == backend.current_engine() == "numpy"
        raise KeyError
    assert backend.current_engine() == "numba"


def test_mixed_devices_raise():
    with pytest.raises(TypeError, match=r"different devices \(GPU, CPU\): move them with sv"):
        backend.engine_of(FakeGpuArray(), np.zeros(4, "float32"))
    assert backend.engine_of(FakeGpuArray()) == "cuda"


def test_mixed_devices_raise_from_an_op():
    with pytest.raises(TypeError, match="linear_forward: arrays are on different devices"):
        gpu = FakeGpuArray()
        gpu.shape, gpu.ndim = (2, 2), 2
        sv.ops.linear_forward(gpu, np.zeros((2, 2), "float32"))


def test_backward_wants_dy_where_y_is():
    """A dy of the right shape and dtype, but on the other device."""
    _, cache = relu_forward(np.zeros(4, "float32"))
    with pytest.raises(TypeError, match="relu_backward: dy is on the GPU, y on the CPU"):
        sv.ops.relu_backward(FakeGpuArray(), cache)


def test_complex_arrays_take_the_reference_on_any_engine():
    with sv.using("numba"):
        assert backend.engine_of(np.zeros(1)) == "numba"
        assert backend.engine_of(np.zeros(1), np.zeros(1, "complex128")) == "numpy"


@pytest.mark.parametrize(("first", "then"), [("numpy", "numba"), ("numba", "numpy")])
def test_backward_follows_the_engine_of_its_forward(first, then):
    """The engines' caches differ: a backward on the other engine would fail or be wrong."""
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6))
    with sv.using(first):
        y, cache = max_pool2d_forward(x, 2)
        expected = max_pool2d_backward(y, cache)
        y, cache = max_pool2d_forward(x, 2)
    with sv.using(then):
        assert_array_equal(max_pool2d_backward(y, cache), expected)
    assert cache.engine == first


def test_the_reference_stays_at_hand():
    with sv.using("numba"):
        x = np.random.default_rng(0).standard_normal((1, 1, 4, 4))
        assert max_pool2d_forward(x, 2)[1].engine == "numba"
        assert max_pool2d_forward.reference(x, 2)[1].engine == "numpy"


def test_help_shows_what_a_caller_gives():
    import inspect

    signature = inspect.signature(max_pool2d_forward)
    assert str(signature) == "(x, kernel_size, stride=None, padding=0)"
    assert "formulas" in max_pool2d_forward.__doc__


def test_errors_keep_their_type_and_name_the_function():
    with pytest.raises(TypeError, match="^relu_forward: x must be float32 or float64"):
        relu_forward(np.arange(3))


def test_asarray_keeps_host_arrays_on_the_host():
    a = np.ones(3)
    assert sv.asarray(a) is a and sv.asnumpy(a) is a
