"""The first tensor that is not finite: faults in every part of a step are found by name."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae.models.inspect import first_not_finite
from scratchvae.train import train_step

SHAPES = {"mlp": (1, 4, 4), "conv": (1, 8, 8), "celeba": (3, 32, 32), "skip": (3, 64, 64)}


def step_of(name, **options):
    """A model, and images and noise for a step."""
    model = sv.models.build(name, image_shape=SHAPES[name], **options)
    rng = np.random.default_rng(0)
    low, high = model.data_range
    x = rng.uniform(low, high, (2, *model.image_shape)).astype(model.dtype)
    return model, x, model.noise(2, rng)


@pytest.mark.parametrize("name", SHAPES)
def test_a_sound_step_has_no_fault_and_leaves_no_trace(few_channels, name):
    """A faulty step changes nothing either: batch norm statistics, the layers' own forward."""
    model, x, eps = step_of(name)
    before = model.state_dict()
    assert first_not_finite(model, x, eps) == "none"
    model.flat_value[-1] = np.inf
    first_not_finite(model, x, eps)
    for key, a in model.state_dict().items():
        if np.isfinite(a).all():
            assert_array_equal(a, before[key], key)
    assert not any("forward" in vars(module) for module in model.modules())


WEIGHTS = {
    "mlp": "fc1.weight",
    "conv": "deconv1.bias",
    "celeba": "encoder.2.1.bias",
    "skip": "decoder.3.up.weight",
}


@pytest.mark.parametrize(("name", "weight"), WEIGHTS.items())
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight(few_channels, name, weight, value):
    model, x, eps = step_of(name)
    model.parameters()[weight].value.flat[-1] = value
    assert first_not_finite(model, x, eps) == f"the weight {weight}"


def test_the_batch_and_the_noise():
    model, x, eps = step_of("celeba")
    eps[0, 0] = np.nan
    assert first_not_finite(model, x, eps) == "the noise"
    x[0, 0, 0, 0] = np.inf
    assert first_not_finite(model, x, eps) == "the batch"


@pytest.mark.parametrize(
    ("name", "weight", "value", "expected"),
    [
        ("mlp", "fc_logvar.bias", 200.0, "the output of sample"),  # exp(100) is too large;
        ("mlp", "fc_logvar.bias", 100.0, "the KL term"),  # exp(50) is not, but its square is
        ("mlp", "fc2.weight", 3e38, "the output of fc2"),
        ("conv", "conv2.weight", 3e38, "the output of conv2"),
        ("conv", "fc_mu.bias", 1e30, "the KL term"),
        ("celeba", "encoder.1.0.weight", 3e38, "the output of encoder.1.0"),
        ("celeba", "encoder.1.1.weight", 3e38, "the output of encoder.1.1"),
        ("celeba", "decoder_input.weight", 3e38, "the output of decoder_input"),
        ("skip", "encoder.0.conv1.weight", 3e38, "the output of encoder.0.conv1"),
        ("skip", "decoder.2.up.weight", 3e38, "the output of decoder.2.up"),
    ],
)
def test_an_output_that_overflows(name, weight, value, expected):
    model, x, eps = step_of(name)
    model.parameters()[weight].value[...] = value
    assert first_not_finite(model, x, eps) == expected


def test_a_gradient_that_overflows(monkeypatch):
    """In backward order: later layers come first."""
    model, x, eps = step_of("mlp")
    backward = model.fc2.backward
    monkeypatch.setattr(model.fc2, "backward", lambda dy: backward(dy * np.float32(1e38) * 1e5))
    found = first_not_finite(model, x, eps)
    assert found in ("the gradient of fc2.bias", "the gradient of fc2.weight")


def test_the_forward_of_layers_comes_back_after_an_error():
    model, x, eps = step_of("mlp")
    with pytest.raises(ValueError, match="MLP.loss: x must have shape"):
        first_not_finite(model, x[:, :, 1:], eps)
    assert not any("forward" in vars(module) for module in model.modules())


def test_on_the_gpu(cupy_on_host):
    with sv.using("cuda"):
        model, x, eps = step_of("mlp")
        model.to("cuda")
        x, eps = (sv.asarray(a) for a in (x, eps))
        assert first_not_finite(model, x, eps) == "none"
        model.fc_mu.bias.value[0] = float("nan")
        assert first_not_finite(model, x, eps) == "the weight fc_mu.bias"


@pytest.mark.parametrize("name", ["mlp", "celeba"])
def test_a_step_that_fails_says_where_and_changes_no_weight(name):
    model, x, eps = step_of(name)
    model.parameters()["fc_logvar.bias"].value[...] = 200
    optimizer, before = sv.optim.Adam(model), model.flat_value.copy()
    said = "the loss of step 1 is (inf|nan); the first .* is the output of sample: no update has b"
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=said):
        train_step(model, optimizer, x, eps)
    assert_array_equal(model.flat_value, before)
    assert optimizer.steps == 0 and not optimizer.m.any()


@pytest.mark.parametrize("name", ["mlp", "celeba"])
def test_a_batch_that_is_not_finite_is_refused_before(name):
    model, x, eps = step_of(name)
    x[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"loss: x must lie in .*, got values from nan to nan"):
        train_step(model, sv.optim.Adam(model), x, eps)


def test_a_step_may_clip():
    model, x, eps = step_of("mlp", dtype="float64")
    other, *_ = step_of("mlp", dtype="float64")
    train_step(model, sv.optim.SGD(model, lr=1.0), x, eps, max_norm=0.01)
    assert np.linalg.norm(model.flat_value - other.flat_value) == pytest.approx(0.01, rel=1e-4)
