import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.gradcheck import check_model


def small(dtype="float64", n=4):
    model = sv.models.build("celeba", latent_dim=4, image_shape=(3, 32, 32), dtype=dtype)
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, 3, 32, 32)).astype(dtype)
    return model, sv.asarray(x), model.noise(n, rng)


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


def test_a_gradient_lost_is_not_taken_for_one_that_is_zero(few_channels):
    model, x, eps = small()
    model.fc_mu._add = lambda dw, db: None  # a layer that forgets its gradients
    report = check_model(model, x, eps, samples=0, raises=False)
    lost = [result for result in report if not result.passed]
    assert [result.tensor for result in lost] == ["fc_mu.weight", "fc_mu.bias"]
    assert all(result.verdict == "FAIL" and result.error == 1 for result in lost)


def test_training_moves_the_running_statistics_and_evaluation_uses_them():
    model, x, eps = small("float32")
    before = model.state_dict()
    model.loss(x, eps)
    after = model.state_dict()
    assert after["encoder.0.1.num_batches_tracked"] == 1
    assert np.abs(after["encoder.0.1.running_mean"] - before["encoder.0.1.running_mean"]).max() > 0
    model.eval()
    model.loss(x, eps, keep=False)
    for name, array in model.state_dict().items():
        assert_array_equal(array, after[name])
    together = model.reconstruct(x)
    alone = np.concatenate([model.reconstruct(x[i : i + 1]) for i in range(len(x))])
    assert_allclose(together, alone, atol=1e-5)  # in evaluation an image does not depend on others


def test_one_image_of_the_smallest_size_cannot_train():
    """Its deepest maps have one value per channel, so there is no variance."""
    model, x, eps = small("float32", n=1)
    with pytest.raises(
        ValueError, match="batch_norm_leaky_relu_forward: training needs more than one"
    ):
        model.loss(x, eps)
    model.eval().loss(x, eps, keep=False)
