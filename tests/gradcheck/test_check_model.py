"""check_op, check_layer, check_model: pass what is right, find what is wrong, change nothing."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.gradcheck import GradientError, check_layer, check_model, check_op
from scratchvae.ops import CASES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("op", CASES)
@pytest.mark.parametrize("method", ["central", "direction", "complex", "adjoint"])
def test_every_op(engine, op, method):
    reports = check_op(op, method)
    linear = sum(bool(case.linear) for case in CASES[op])
    assert len(reports) == (linear if method == "adjoint" else len(CASES[op]))
    for report in reports:
        assert not report.zeros and not any(result.skipped for result in report)
        assert report.worst.error <= (1e-12 if method in ("complex", "adjoint") else 1e-7)


@pytest.mark.parametrize("op", CASES)
def test_every_op_in_float32(engine, op):
    for report in check_op(op, "complex", dtype="float32"):
        assert report.worst.error <= 2e-6


def test_every_op_has_a_case_and_its_arrays_have_gradients():
    assert set(CASES) == {n.removesuffix("_forward") for n in ops.__all__ if "_forward" in n}
    for op, cases in CASES.items():
        for case in cases:
            assert set(case.linear) <= set(case.shapes) - set(case.constants), op


def make_layers():
    rng = np.random.default_rng(0)
    made = {"rng": rng, "dtype": "float64"}
    image = rng.standard_normal((3, 3, 4, 3))
    L = sv.layers
    return [
        (L.Linear(3, 4, **made), [rng.standard_normal((2, 3))]),
        (L.Conv2d(3, 2, 3, 2, 1, **made), [image]),
        (L.ConvTranspose2d(3, 2, 3, 2, 1, 1, bias=False, **made), [image]),
        (L.BatchNorm2d(3, dtype="float64"), [image]),
        (L.BatchNorm2d(3, dtype="float64").eval(), [image]),
        (L.Reparameterize(), list(rng.standard_normal((3, 2, 4)))),
        (sv.models.skip.Up(3, 2, last=False, **made),
         [image[:1, :, :3, :2], rng.standard_normal((1, 2, 6, 4))]),
        (L.Sequential(L.Conv2d(3, 2, 3, **made), L.Tanh()), [image]),
    ]  # fmt: skip


@pytest.mark.parametrize("k", range(8))
@pytest.mark.parametrize("method", ["central", "complex"])
def test_layers(engine, k, method):
    layer, inputs = make_layers()[k]
    before, mode = layer.state_dict(), [m.training for m in layer.modules()]
    noise = ["eps"] if isinstance(layer, sv.layers.Reparameterize) else []
    report = check_layer(layer, *inputs, method=method, without_gradient=noise)
    for name in layer.parameters():
        assert report[name].verdict == "ok"
    assert len(report) > len(layer.parameters())  # also rows for the inputs
    after = layer.state_dict()
    assert all((after[name] == before[name]).all() for name in before)
    assert mode == [m.training for m in layer.modules()]
    assert all((p.grad == 0).all() for p in layer.parameters().values())
    with pytest.raises(RuntimeError, match="no cache"):
        layer.backward(None)


def test_a_layer_in_float32():
    layer = sv.layers.Conv2d(3, 2, 3, rng=np.random.default_rng(0))
    report = check_layer(layer, np.random.default_rng(1).standard_normal((2, 3, 5, 5)))
    assert 1e-9 < report.worst.error < 1e-6


class Forgetful(sv.layers.Linear):
    def _add(self, dw, db):
        super()._add(dw, 0 * db)


def test_a_layer_that_forgets_its_bias():
    layer = Forgetful(3, 4, rng=np.random.default_rng(0), dtype="float64")
    with pytest.raises(GradientError, match="Forgetful: the gradient of bias, shape .* is wrong"):
        check_layer(layer, np.ones((2, 3)))


def small(name="mlp", **options):
    model = sv.models.build(name, latent_dim=2, dtype="float64", **options)
    rng = np.random.default_rng(0)
    return model, rng.random((2, *model.image_shape)), model.noise(2, rng)


@pytest.mark.parametrize("method", ["complex", "central", "direction"])
def test_check_model_leaves_the_model_alone(method, few_channels):
    """Bit for bit: weights, gradients, statistics, modes, the cache of a loss before backward."""
    model = sv.models.build("celeba", latent_dim=2, image_shape=(3, 32, 32), dtype="float64")
    rng = np.random.default_rng(0)
    x, eps = rng.random((2, 3, 32, 32)), model.noise(2, rng)
    model.loss(x, eps)
    model.backward()
    model.flat_grad[0] = -0.0
    model.loss(x[::-1].copy(), eps)
    state, grad, held = model.state_dict(), model.flat_grad.tobytes(), model.fc_mu.weight.value
    [*model.modules()][3].eval()
    modes = [m.training for m in model.modules()]
    given = x.tobytes(), eps.tobytes()
    only = ["fc_mu.weight", "encoder.0.1.weight"]
    check_model(model, x, eps, method, samples=0, only=only, raises=False)
    after = model.state_dict()
    assert all(after[name].tobytes() == state[name].tobytes() for name in state)
    assert model.flat_grad.tobytes() == grad and model.fc_mu.weight.value is held
    assert [m.training for m in model.modules()] == modes and model.dtype == np.float64
    assert (x.tobytes(), eps.tobytes()) == given
    [*model.modules()][3].train()
    model.zero_grad()
    model.backward()  # of the loss before the check
    got = model.flat_grad.copy()
    model.zero_grad()
    model.load_state_dict(state)
    model.loss(x[::-1].copy(), eps)
    model.backward()
    assert_array_equal(got, model.flat_grad)


def test_a_model_in_float32():
    model, x, eps = small()
    report = check_model(model.to("float32"), x.astype("float32"), eps.astype("float32"))
    assert 1e-9 < report.worst.error < 1e-4


def breaking(model, change):
    """Call `change(model)` after each of its backward passes."""

    class Broken(type(model)):
        def backward(self):
            super().backward()
            change(self)

    model.__class__ = Broken


def test_the_wrong_element_of_a_model_is_found():
    def change(model):
        model.fc1.weight.grad[123, 7] += 1e-3

    model, x, eps = small(image_shape=(1, 4, 4))
    breaking(model, change)
    for method in ("complex", "central", "direction"):
        report = check_model(model, x, eps, method, samples=0, raises=False)
        assert [r.tensor for r in report if not r.passed] == ["fc1.weight"]
        assert report["fc1.weight"].where == (123, 7)
        assert "Broken: the gradient of fc1.weight" in report.failure()


@pytest.mark.parametrize("method", ["complex", "central", "direction"])
@pytest.mark.parametrize("lie", [np.nan, 0.0, 1.01])
def test_lies_about_a_model(method, lie):
    def change(model):
        model.linear.weight.grad *= lie

    model, x, eps = small("tiny")
    breaking(model, change)
    report = check_model(model, x, eps, method, samples=0, raises=False)
    assert [r.tensor for r in report if not r.passed] == ["linear.weight"]
    assert report["linear.weight"].verdict == "FAIL"
