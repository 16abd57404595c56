"""The recorded step is the step: its numbers are those that training gives, line by line."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from steps import QUICK_FIRST, a_batch, a_model, a_step

import scratchvae as sv
from scratchvae.layers import Layer, Linear
from scratchvae.models import MLP
from scratchvae.xray import record


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_it_is_the_step_that_training_does(name):
    """Losses, gradients, updated weights and running statistics, bit for bit."""
    model, step = a_model(name), a_step(name)
    optimizer = sv.optim.Adam(model)
    with sv.using("numpy"):
        losses = sv.train.train_step(model, optimizer, step.x, step.eps)
        after = model.loss(step.x, step.eps, keep=False)
    assert step.losses == losses
    assert_array_equal(step.updated.flat_value, model.flat_value)
    (update,) = (call for call in step.calls if call.scope == "update")
    assert_array_equal(update.arguments["grad"], model.flat_grad)
    assert step.losses_after.total == pytest.approx(after.total, rel=1e-6)
    assert_array_equal(step.model.flat_value, a_model(name).flat_value)  # before the step


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_every_gradient_of_a_weight_is_recorded(name):
    step, model = a_step(name), a_model(name)
    with sv.using("numpy"):
        model.loss(step.x, step.eps)
        model.backward()
    results = {call.scope: call.result for call in step.calls if call.direction == "backward"}
    for parameter, p in model.parameters().items():
        layer, _, kind = parameter.rpartition(".")
        assert_array_equal(results[layer]["dw" if kind == "weight" else "db"], p.grad)


def test_a_record_names_the_op_the_line_the_variable_and_the_array():
    step = a_step("mlp")
    found = {(r.op, r.name): r for r in step}
    std = found["sample.reparameterize_forward", "std"]
    text = Path(sv.ops.reparameterize.__file__).read_text().splitlines()[std.line - 1]
    assert text.strip() == "std = array_module(mu).exp(logvar / 2)"
    logvar = found["model.forward", "logvar"].array
    assert_array_equal(std.array, np.exp(logvar / 2))
    z = found["sample.reparameterize_forward", "z"].array
    assert_array_equal(z, found["model.forward", "mu"].array + std.array * step.eps)


def test_lines_stand_in_the_order_in_which_they_run():
    step = a_step("mlp")
    scopes = list(dict.fromkeys(call.scope for call, _ in step.lines))
    assert scopes[:4] == ["step", "model", "fc1", "relu1"]
    assert scopes[-1] == "update"
    backward = [call.scope for call in step.calls if call.direction == "backward" and call.op]
    assert backward[:3] == ["elbo", "kl", "bce"] and backward[-1] == "fc1"


def test_an_array_that_changes_later_is_kept_as_it_was():
    """The update changes m in place, twice; the weights of forward are those before the update."""
    step = a_step("mlp")
    first, second = (r.array for r in step if r.op == "update.adam_step" and r.name == "m")
    assert not first.any() and second.any()
    (call,) = (c for c in step.calls if c.scope == "fc1" and c.direction == "forward")
    assert_array_equal(call.arguments["w"], step.model.fc1.weight.value)
    assert call.owned == {"w": "fc1.weight", "b": "fc1.bias"}


def test_an_optimizer_in_the_middle_of_a_training():
    model = a_model("mlp")
    x, eps = a_batch(model)
    optimizer = sv.optim.AdamW(model, lr=0.01)
    with sv.using("numpy"):
        for _ in range(3):
            sv.train.train_step(model, optimizer, x, eps)
        before = optimizer.m.copy(), model.flat_value.copy()
        step = record(model, x, eps, optimizer)
        assert_array_equal(optimizer.m, before[0])
        assert_array_equal(model.flat_value, before[1])
        assert optimizer.steps == 3
        sv.train.train_step(model, optimizer, x, eps)
    assert_array_equal(step.updated.flat_value, model.flat_value)


class Transposed(Linear):
    """A layer whose weight is square, so that its transpose has its shape."""

    def forward(self, x, keep=True):
        wt = self.weight.value.T
        return super().forward(x + 0 * wt[0], keep)


def test_the_transpose_of_a_weight_is_not_the_weight():
    model = sv.models.build("mlp", latent_dim=400)
    model.fc2.__class__ = Transposed
    (wt,) = (r.array for r in record(model, *a_batch(model)) if r.name == "wt")
    assert_array_equal(wt, model.fc2.weight.value.T)


def test_a_loop_that_is_over_makes_no_array():
    step = a_step("skip")
    assert [r.name for r in step if r.op == "model.decode"].count("skip") == 6


def test_an_optimizer_made_before_the_model_changed_its_dtype():
    """Its m and v are moved within the update, which then changes the new arrays in place."""
    model = a_model("ae")
    optimizer = sv.optim.Adam(model)
    model.to("float64")
    step = record(model, *a_batch(model), optimizer)
    first, second = (r.array for r in step if r.op == "update.adam_step" and r.name == "m")
    assert not first.any() and second.any() and second.dtype == "float64"


def test_gradients_can_be_clipped():
    model = a_model("mlp")
    x, eps = a_batch(model)
    step = record(model, x, eps, max_norm=0.5)
    with sv.using("numpy"):
        sv.train.train_step(model, sv.optim.Adam(model), x, eps, max_norm=0.5)
    assert_array_equal(step.updated.flat_value, model.flat_value)
    assert [c.function.name for c in step.calls if c.scope == "update"] == [
        "clip_to_norm",
        "adam_step",
    ]


def test_an_optimizer_of_another_model_is_refused():
    model = a_model("mlp")
    with pytest.raises(ValueError, match="record: the optimizer was made for another model"):
        record(model, *a_batch(model), sv.optim.Adam(a_model("mlp")))


def test_wrong_images_are_refused_by_the_model():
    with pytest.raises(ValueError, match=r"MLP.loss: x must have shape .N, 1, 28, 28."):
        record(a_model("mlp"), np.zeros((2, 1, 9, 9), "float32"))


def test_a_step_that_is_not_finite_is_recorded_to_its_end():
    model = a_model("mlp")
    model.fc2.weight.value[0, 0] = np.nan
    step = record(model, *a_batch(model))
    assert np.isnan(step.losses.total)
    assert any(call.scope == "update" for call in step.calls)


def test_the_trace_function_before_is_there_again():
    """A debugger's or coverage's; also after an error."""
    model, before = a_model("mlp"), sys.gettrace()
    sys.settrace(mine := lambda *_: None)
    try:
        record(model, *a_batch(model))
        assert sys.gettrace() is mine
        with pytest.raises(ValueError, match="eps must have shape"):
            record(model, a_batch(model)[0], np.zeros((2, 3), "float32"))
        assert sys.gettrace() is mine
    finally:
        sys.settrace(before)


def test_the_engine_in_use_stays_and_the_noise_has_a_default():
    model = a_model("mlp")
    x, _ = a_batch(model)
    with sv.using("numba"):
        step = record(model, x)
        assert sv.backend.current_engine() == "numba"
    assert_array_equal(step.eps, model.noise(2, np.random.default_rng(0)))


class Doubled(Layer):
    """A layer of the user's own, without an op of ours."""

    def forward(self, x, keep=True):
        y = 2 * x
        return self._keep((y, ()), keep)

    def backward(self, dy):
        self._kept()
        return 2 * dy


class WithOwnLayer(MLP):
    """The MLP with `Doubled` in place of its first activation."""

    def __init__(self, **options):
        super().__init__(**options)
        del self.relu1
        self.relu1 = Doubled()


def test_a_layer_of_the_users_own_is_recorded():
    model = WithOwnLayer(rng=np.random.default_rng(0))
    step = record(model, *a_batch(model))
    lines = {(r.op, r.name) for r in step}
    assert {("relu1.forward", "y"), ("relu1.backward", "2 * dy")} <= lines
    assert isinstance(model.fc1, Linear)
