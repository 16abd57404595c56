import numpy as np
import pytest

import scratchvae as sv
from scratchvae.gradcheck import check, check_model, tensor_error


def cube(x, w):
    return w * x**3, (x, w)


def cube_backward(dy, cache):
    x, w = cache
    return dy * 3 * w * x**2, dy * x**3


def inputs():
    return tuple(np.random.default_rng(0).uniform(0.5, 1.5, (2, 3, 4)))


def test_a_right_backward_passes():
    errors = check(cube, cube_backward, *inputs())
    assert len(errors) == 2 and max(errors) < 1e-8


def test_a_wrong_backward_is_named():
    def wrong(dy, cache):
        dx, dw = cube_backward(dy, cache)
        dw[1, 2] *= 1.001
        return dx, dw

    with pytest.raises(
        AssertionError, match=r"gradient of input 1 \(shape \(3, 4\)\): .* worst at \(1, 2\)"
    ):
        check(cube, wrong, *inputs())


@pytest.mark.parametrize("lie", [lambda dx: 0 * dx, lambda dx: 17 * dx, lambda dx: dx + np.nan])
def test_gradients_of_zero_seventeen_and_nan_fail(lie):
    def wrong(dy, cache):
        dx, dw = cube_backward(dy, cache)
        return lie(dx), dw

    with pytest.raises(AssertionError, match="gradient of input 0"):
        check(cube, wrong, *inputs())


def test_a_missing_gradient_is_an_error():
    with pytest.raises(
        ValueError,
        match="check: 2 inputs need as many gradients, backward gave an array of float64",
    ):
        check(cube, lambda dy, cache: cube_backward(dy, cache)[0], *inputs())


def test_gradients_of_the_wrong_shape_are_an_error():
    with pytest.raises(
        ValueError, match=r"gradient of input 0 must have its shape \(3, 4\), got \(\)"
    ):
        check(lambda x: (x.sum(), None), lambda dy, cache: dy, np.ones((3, 4)))


def test_nothing_to_check_is_an_error():
    with pytest.raises(
        ValueError, match="check: 1 inputs need as many gradients, .* gave NoneType"
    ):
        check(lambda x: (x, None), lambda dy, cache: None, np.ones(3))


@pytest.mark.parametrize("x", [np.ones(3, "float32"), np.ones(3, int), [1.0], 1.0])
def test_inputs_must_be_float64_arrays(x):
    with pytest.raises(TypeError, match="check: input 0 must be a float64 array, got"):
        check(lambda x: (x, None), lambda dy, cache: dy, x)


def test_forward_must_return_a_cache():
    with pytest.raises(TypeError, match=r"check: forward must return \(y, cache\), got an array"):
        check(lambda x: 2 * x, lambda dy, cache: 2 * dy, np.ones(3))


def test_scalars_and_losses():
    check(lambda x: ((x**2).sum(), x), lambda dy, x: 2 * dy * x, np.arange(1.0, 4.0))
    check(sv.ops.tanh_forward, sv.ops.tanh_backward, np.array(0.3))
    check(lambda r, k: sv.ops.elbo_forward(r, k, 2.0), sv.ops.elbo_backward, *np.ones((2, 3)))


def test_none_is_not_checked():
    assert len(check(cube, lambda dy, cache: (None, cube_backward(dy, cache)[1]), *inputs())) == 1


def test_error_is_relative_to_the_largest_element():
    assert tensor_error(np.array([100.0, 1e-9]), np.array([100.0, 0.0])) == pytest.approx(1e-11)
    assert tensor_error(np.zeros(2), np.array([0.0, 3.0])) == 3.0


def test_dy_is_not_x():
    """x drawn from default_rng(0), as everyone does: dy must be another draw, not the same one."""
    x, seen = np.random.default_rng(0).standard_normal((4, 5)), []

    def backward(dy, cache):
        seen.append(dy)
        return 2 * dy

    check(lambda x: (2 * x, None), backward, x)
    assert abs(np.corrcoef(seen[0].ravel(), x.ravel())[0, 1]) < 0.6


def test_check_model_leaves_the_model_alone():
    model = sv.models.build("mlp", latent_dim=2, image_shape=(1, 2, 2), dtype="float64")
    model.flat_grad[...] = 3
    value, held = model.flat_value.copy(), model.fc1.weight.value
    rng = np.random.default_rng(0)
    check_model(model, rng.random((2, 1, 2, 2)), model.noise(2, rng))
    assert (model.flat_value == value).all() and (model.flat_grad == 3).all()
    assert model.fc1.weight.value is held and model.dtype == np.float64
    with pytest.raises(RuntimeError, match="no cache"):
        model.backward()


def test_check_model_wants_float64():
    model = sv.models.build("mlp")
    with pytest.raises(ValueError, match="check_model: the model must be float64, got float32"):
        check_model(model, np.zeros((1, 1, 28, 28)), np.zeros((1, 20)))


@pytest.mark.parametrize("side", [0, 1])
def test_a_nan_is_no_agreement(side):
    """`max` and `<=` pass over a NaN: the error has to be infinite."""
    pair = [np.ones(3), np.ones(3)]
    pair[side][1] = np.nan
    assert tensor_error(*pair) == np.inf
    pair[side][1] = np.inf
    assert tensor_error(*pair) == np.inf


def test_check_model_sees_a_nan():
    model = sv.models.build("tiny", latent_dim=2, dtype="float64")
    rng = np.random.default_rng(0)
    x, eps = rng.random((2, 1, 28, 28)), model.noise(2, rng)
    backward = type(model).backward

    class Broken(type(model)):
        def backward(self):
            backward(self)
            self.linear.weight.grad[0, 0] = np.nan

    model.__class__ = Broken
    errors = check_model(model, x, eps, samples=0)
    assert errors.pop("linear.weight") == np.inf and max(errors.values()) <= 1e-10
