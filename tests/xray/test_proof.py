"""The proof agrees with right gradients and finds wrong ones, at their op and in the whole step."""

import numpy as np
import pytest
from steps import QUICK_FIRST, a_batch, a_model, a_step

import scratchvae as sv
from scratchvae import layers, models
from scratchvae.models import vae
from scratchvae.xray import proof
from scratchvae.xray.page import Content
from scratchvae.xray.record import record


def wrong(name):
    """The gradients of a step that the page calls wrong."""
    model = a_model(name)
    return Content(record(model, *a_batch(model))).wrong


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_right_gradients_agree(name):
    content = Content(a_step(name))
    assert content.wrong == []
    assert len(content.whole) == len(a_step(name).model.parameters())
    proved = {section.name: [p.tensor for p in section.proofs] for section in content.sections}
    assert all(proved[name] for name, (_, backward) in content.ops.items() if backward)


def test_all_gradients_of_an_op_are_proved():
    content = Content(a_step("mlp"))
    proved = {section.name: [p.tensor for p in section.proofs] for section in content.sections}
    assert proved["fc3"] == ["x", "weight", "bias"]
    assert proved["fc1"] == ["weight", "bias"]  # the image needs no gradient
    assert proved["sample"] == ["mu", "logvar"]
    assert proved["bce"] == ["logits"]


def test_the_element_with_the_largest_gradient_is_a_sample():
    step = a_step("mlp")
    (weight,) = (p for p in proof.of_step(step) if p.tensor == "fc3.weight")
    largest = max(abs(sample.analytic) for sample in weight.samples)
    assert largest == pytest.approx(weight.scale)
    for sample in weight.samples:
        assert sample.recorded == pytest.approx(sample.analytic, rel=1e-4, abs=1e-7)
        assert sample.central == pytest.approx(sample.complex_step, rel=1e-5)


def changed(function, change):
    def call(*args, **options):
        return change(function(*args, **options))

    return call


def test_a_wrong_dx_of_an_op_is_found_there_and_in_the_step(monkeypatch):
    def doubled(results):
        dx, dw, db = results
        return None if dx is None else 2 * dx, dw, db

    monkeypatch.setattr(layers, "linear_backward", changed(layers.linear_backward, doubled))
    found = wrong("mlp")
    assert {"fc2", "fc3", "fc_mu", "fc_logvar"} <= {*found}
    assert "fc1.weight" in found and "fc3.weight" not in found and "sample" not in found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_biases_before_a_batch_norm_have_gradients_of_rounding_errors(seed):
    model = sv.models.build("celeba", seed=seed, image_shape=(3, 32, 32))
    assert [
        p.tensor for p in proof.of_step(record(model, *a_batch(model))) if p.verdict != "agrees"
    ] == []


def test_a_gradient_that_is_wrong_in_float32_alone_is_found(monkeypatch):
    def off(results):
        dx, dw, db = results
        return dx, 1.01 * dw if dw.dtype == "float32" else dw, db

    monkeypatch.setattr(layers, "linear_backward", changed(layers.linear_backward, off))
    assert {"fc1.weight", "fc3.weight"} <= {*wrong("mlp")}


def test_a_gradient_that_a_model_forgets_to_add_is_found_in_the_step(monkeypatch):
    def backward(self):
        dlogits, dmu_kl, dlogvar_kl = self.loss_backward()
        dh = self.relu2.backward(self.fc3.backward(dlogits.reshape(len(dlogits), -1)))
        dmu_z, dlogvar_z = self.sample.backward(self.fc2.backward(dh))
        dh = self.fc_mu.backward(dmu_z) + self.fc_logvar.backward(dlogvar_kl + dlogvar_z)
        self.fc1.backward(self.relu1.backward(dh), need_dx=False)

    monkeypatch.setattr(models.MLP, "backward", backward)
    assert wrong("mlp") == ["fc1.weight", "fc1.bias", "fc_mu.weight", "fc_mu.bias"]


def test_a_small_error_of_one_term_is_found(monkeypatch):
    def off(results):
        return results[0], results[1] * (1 + 1e-6)

    monkeypatch.setattr(vae, "kl_backward", changed(vae.kl_backward, off))
    assert "fc_logvar.weight" in wrong("mlp")


def test_a_step_that_is_not_finite_is_not_called_wrong():
    model = a_model("mlp")
    model.fc2.weight.value[0, 0] = np.nan
    content = Content(record(model, *a_batch(model)))
    verdicts = {p.verdict for s in content.sections for p in s.proofs}
    assert verdicts == {"agrees", "not finite"}
    assert content.wrong == [] and content.not_finite == "the weight fc2.weight"


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_gradient_of_zeros_and_one_of_nan_are_wrong(value, monkeypatch):
    change = changed(layers.relu_backward, lambda dx: dx * 0 + value)
    monkeypatch.setattr(layers, "relu_backward", change)
    assert "relu2" in wrong("mlp")
