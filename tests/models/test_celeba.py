import numpy as np
import pytest

import scratchvae as sv
from scratchvae.gradcheck import check_model


def small():
    model = sv.models.build("celeba", latent_dim=4, image_shape=(3, 32, 32), dtype="float64")
    rng = np.random.default_rng(0)
    return model, sv.asarray(rng.uniform(-1, 1, (4, 3, 32, 32))), model.noise(4, rng)


def test_gradients_in_evaluation_mode(engine, few_channels):
    """Running statistics are constants there; a backward as in training would be noticed."""
    model, x, eps = small()
    model.loss(x, eps, keep=False)  # running statistics that are not 0 and 1
    assert check_model(model.eval(), x, eps, samples=1).worst.error <= 1e-10


def test_biases_before_a_batch_norm_have_no_gradient(few_channels):
    model, x, eps = small()
    idle = {f"{half}.{i}.0.bias" for half in ("encoder", "decoder") for i in range(5)}
    assert set(check_model(model, x, eps, samples=0).zeros) == idle
    model.loss(x, eps)
    model.backward()
    for name, p in model.parameters().items():
        assert (abs(p.grad).max() <= 1e-12 * abs(model.flat_grad).max()) == (name in idle)


@pytest.mark.parametrize(("part", "verdict"), [(5e-13, "zero"), (5e-12, "FAIL")])
def test_zero_is_less_than_1e_12_of_the_largest_gradient(few_channels, part, verdict):
    model, x, eps = small()
    backward = type(model).backward

    class Broken(type(model)):
        def backward(self):
            backward(self)
            self.parameters()["encoder.0.0.bias"].grad += part * abs(self.flat_grad).max()

    model.__class__ = Broken
    report = check_model(model, x, eps, samples=0, only=["encoder.0.0.bias"], raises=False)
    assert report["encoder.0.0.bias"].verdict == verdict
