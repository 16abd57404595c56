"""Planting changes the running code, restores everything, and rejects impossible faults."""

import importlib

import numpy as np
import pytest
from harness import convolutions
from planting import Refused, changed_text, planted

import scratchvae as sv
from scratchvae.exercises.gallery import GALLERY, Fault
from scratchvae.kernels.cpu import linear, max_pool2d
from scratchvae.kernels.cpu.convolution import direct, transforms, winograd
from scratchvae.kernels.cpu.runtime import memory, reductions
from scratchvae.ops import linear_backward, linear_forward

LINEAR = "scratchvae.ops.linear"


def fault(module, *changes):
    return Fault("a fault", module, list(changes), "", "")


def db():
    return linear_backward(np.ones((2, 1)), linear_forward(np.ones((2, 3)), np.ones((1, 3)))[1])[1]


def test_a_fault_lasts_for_a_block():
    """`linear_backward` was imported above, before the fault, and is changed anyway."""
    right = db().copy()
    with pytest.raises(KeyError), planted(fault(LINEAR, ("dw = dy.T @ x", "dw = 3 * dy.T @ x"))):
        assert (db() == 3 * right).all()
        raise KeyError
    assert (db() == right).all()


def test_several_changes_are_one_fault():
    changes = ("dw = dy.T @ x", "dw = 3 * dy.T @ x"), ("y = x @ w.T", "y = -x @ w.T")
    with planted(fault(LINEAR, *changes)):
        assert db()[0, 0] == 6 and linear_forward(np.ones((2, 3)), np.ones((1, 3)))[0][0, 0] == -3


def test_methods_and_properties():
    layer = sv.layers.LeakyReLU(0.5)
    with planted(fault("scratchvae.layers", ("(x, self.negative_slope)", "(x, 0.25)"))):
        assert layer.forward(np.array([-4.0])) == -1
    assert layer.forward(np.array([-4.0])) == -2
    model = sv.models.build("mlp", latent_dim=1, image_shape=(1, 2, 2))
    with planted(fault("scratchvae.models.vae", ('return "nats per image"', 'return "bits"'))):
        assert model.loss_unit == "bits"
    assert model.loss_unit == "nats per image"


def test_a_line_more_or_less_moves_nothing_else():
    """All functions below get other line numbers, but count as unchanged."""
    with planted(fault("scratchvae.train", ("optimizer.zero_grad()\n    losses", "losses"))):
        pass
    more = ("db = dy.sum(axis=0) if has_b else None", "db = None\n    dw = 0 * dw\n    x = x")
    with planted(fault(LINEAR, more)):
        assert (db() == 0).all()


def test_closures_that_were_made_before():
    """`call` of every accelerated forward is such a closure, which no name refers to."""
    change = ("return y, Cache(op, engine,", "return y, Cache(engine, op,")
    with (
        planted(fault("scratchvae.backend", change)),
        pytest.raises(TypeError, match="expected the cache of linear_forward, got one of numpy"),
    ):
        db()
    db()


def test_numbas_functions_run_as_python_then():
    compiled = max_pool2d._forward
    with planted(
        fault(
            "scratchvae.kernels.cpu.max_pool2d",
            ("int32((h - i * SH + PH) * KW", "int32((h - i * SH + PH)"),
        )
    ):
        assert max_pool2d._forward is not compiled
        with sv.using("numba"):
            _, cache = sv.ops.max_pool2d_forward(np.arange(4.0).reshape(1, 1, 2, 2), 2)
        assert cache.content[0].item() == 2  # of 3
    assert max_pool2d._forward is compiled


def test_and_so_do_those_that_call_them():
    compiled = transforms._transform, transforms._transform_back, transforms._sum
    before = "        out[at + c] += first + last"
    with planted(
        fault("scratchvae.kernels.cpu.convolution.transforms", (before, before.replace("+=", "-=")))
    ):
        ours = transforms._transform, transforms._transform_back, transforms._sum
        assert not any(hasattr(function, "py_func") for function in ours)
    assert (transforms._transform, transforms._transform_back, transforms._sum) == compiled


def test_and_so_do_those_that_import_them():
    compiled = linear._db, reductions.sum_of_rows
    change = "            total[c] += total[k + c]", "            total[c] += 2 * total[k + c]"
    with planted(fault("scratchvae.kernels.cpu.runtime.reductions", change)):
        assert linear._db(np.ones((2, 1))).item() == 3  # of two rows side by side
    assert (linear._db, reductions.sum_of_rows) == compiled


@pytest.mark.slow
def test_intrinsics_are_compiled_anew():
    """If the fault is in an intrinsic, or in a function that a caller of intrinsics calls."""

    def y():
        with sv.using("numba"), convolutions("direct"):
            return sv.ops.conv2d_forward(np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1)))[0].item()

    compiled = direct._write, direct._fill
    assert y() == 1
    with planted(
        fault("scratchvae.kernels.cpu.convolution.microkernel", ("fmul(a, b,", "fadd(a, b,"))
    ):
        assert y() == 2
    with planted(
        fault("scratchvae.kernels.cpu.convolution.direct", ("= source[k]", "= 3 * source[k]"))
    ):
        assert y() == 3
    assert y() == 1 and (direct._write, direct._fill) == compiled


def test_nothing_that_was_kept_hides_a_fault_or_outlives_it():
    """Neither lru_cache results nor blocks of memory remain."""

    def block():
        return memory.empty((1 << 17,), np.uint8).__array_interface__["data"][0]

    def value_at_infinity():
        return winograd.matrices(1, 2)[1][-1].tolist()

    right, _ = value_at_infinity(), block()
    other = ("last = [Fraction(int(k == size - 1))", "last = [Fraction(2 * int(k == size - 1))")
    with planted(fault("scratchvae.kernels.cpu.convolution.winograd", other)):
        assert not memory._free
        wrong = value_at_infinity()
        block()
    assert wrong == [0, 2] and right == [0, 1] == value_at_infinity()
    assert not memory._free


def test_cuda_kernels(cupy_on_host):
    """The fault is planted for both dtypes."""

    def activated(dtype):
        x = sv.asarray(np.array([-4.0], dtype))
        y, cache = sv.ops.leaky_relu_forward(x, 0.5)
        return y.get().item(), sv.ops.leaky_relu_backward(x, cache).get().item()

    with sv.using("cuda"):
        with planted(fault("kernels/cuda/leaky_relu.cu", ("return x > 0 ?", "return x < 0 ?"))):
            assert activated("float32") == activated("float64") == (-4, -2)
        assert activated("float32") == activated("float64") == (-2, -2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("if (i < count)", "if (i)"), "occurs 2 times in kernels/cuda/leaky_relu.cu"),
        (("return x > 0 ?", "return z > 0 ?"), "g.. does not compile the kernels"),
    ],
)
def test_cuda_kernels_refused(cupy_on_host, change, message):
    with (
        pytest.raises(Refused, match=f"a fault: .*{message}"),
        planted(fault("kernels/cuda/leaky_relu.cu", change)),
    ):
        raise AssertionError("planted")


@pytest.mark.parametrize(
    ("module", "change", "message"),
    [
        (LINEAR, ("dw = dy @ x", "dw = x"), "'dw = dy @ x' occurs 0 times in .*linear, not 1"),
        (LINEAR, ("has_b", "b"), "'has_b' occurs 2 times"),
        (LINEAR, ("dw = dy.T @ x", "dw = dy.T @"), "the changed text does not compile"),
        (LINEAR, ("# (O, I)", "# (I, O)"), "the code stays the same"),
        (LINEAR, ("need_dx=True", "need_dx=False"), "reaches <module> of .*linear itself"),
        (
            "scratchvae.kernels.cpu.convolution.indirection",
            ("1 << 20", "1 << 10"),
            "reaches <module>",
        ),
        ("scratchvae.optim", ("    decoupled = True", "    decoupled = False"), "reaches AdamW"),
        (LINEAR, ('(x, w, b=None):\n    """y', '(x, b, w=None):\n    """y'), "reaches <module>"),
    ],
)
def test_refusals(module, change, message):
    right = db()
    with pytest.raises(Refused, match=f"a fault: .*{message}"), planted(fault(module, change)):
        raise AssertionError("planted")
    assert (db() == right).all()


def test_a_function_that_is_not_alive_is_refused(tmp_path, monkeypatch):
    """Also a function whose file has changed since its import."""
    file = tmp_path / "short_lived.py"
    file.write_text("def f():\n    return 1\n\n\ndel f\n\n\ndef g():\n    return 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("short_lived")
    with (
        pytest.raises(Refused, match="no live function has the code of f in"),
        planted(fault("short_lived", ("return 1", "return 3"))),
    ):
        pass
    with planted(fault("short_lived", ("return 2", "return 3"))):
        assert module.g() == 3
    file.write_text("def g():\n    return 5\n")
    with (
        pytest.raises(Refused, match="no live function has the code of g in"),
        planted(fault("short_lived", ("return 5", "return 3"))),
    ):
        pass
    assert module.g() == 2


@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery_fits_the_code(name):
    """A fast check that every text named in the gallery still exists."""
    changed_text(GALLERY[name])
