"""A layer is its op: the gradients agree, and every option arrives."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_layers import MAKE

import scratchvae as sv
from scratchvae import layers, ops
from scratchvae.gradcheck import check_layer
from scratchvae.ops.cases import distinct


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", MAKE)
def test_gradients(engine, rng, name):
    """What a layer hands on, and what it adds to its parameters' gradients."""
    make, shape = MAKE[name]
    check_layer(in_float64(make(rng)), distinct(rng, shape))


def in_float64(layer):
    """Models do this with `to`."""
    for p in layer.parameters().values():
        p.move_into(*(sv.asarray(np.zeros(p.value.shape)) for _ in range(2)))
    for name in layer.buffers:
        setattr(layer, name, getattr(layer, name).astype("float64"))
    return layer


PASSED_ON = {
    "Conv2d": (lambda rng: layers.Conv2d(3, 2, 3, 2, 1, rng=rng), ops.conv2d_forward, (2, 1)),
    "ConvTranspose2d": (
        lambda rng: layers.ConvTranspose2d(3, 2, 3, 2, 1, 1, rng=rng),
        ops.conv_transpose2d_forward,
        (2, 1, 1),
    ),
    "Linear and LeakyReLU": (
        lambda rng: layers.Linear(5, 2, activation=layers.LeakyReLU(0.3), rng=rng),
        ops.linear_leaky_relu_forward,
        (0.3,),
    ),
    "Linear and ReLU": (
        lambda rng: layers.Linear(5, 2, activation=layers.ReLU(), rng=rng),
        ops.linear_leaky_relu_forward,
        (0.0,),
    ),
    "Conv2d and LeakyReLU": (
        lambda rng: layers.Conv2d(3, 2, 3, 2, 1, activation=layers.LeakyReLU(0.3), rng=rng),
        ops.conv2d_leaky_relu_forward,
        (2, 1, 0.3),
    ),
    "ConvTranspose2d and LeakyReLU": (
        lambda rng: layers.ConvTranspose2d(
            3, 2, 3, 2, 1, 1, activation=layers.LeakyReLU(0.3), rng=rng
        ),
        ops.conv_transpose2d_leaky_relu_forward,
        (2, 1, 1, 0.3),
    ),
    "MaxPool2d": (lambda rng: layers.MaxPool2d(3, 1, 1), ops.max_pool2d_forward, (3, 1, 1)),
    "AvgPool2d": (lambda rng: layers.AvgPool2d(3, 1, 1), ops.avg_pool2d_forward, (3, 1, 1)),
    "AdaptiveAvgPool2d": (
        lambda rng: layers.AdaptiveAvgPool2d((3, 2)),
        ops.adaptive_avg_pool2d_forward,
        ((3, 2),),
    ),
    "UpsamplingNearest2d": (
        lambda rng: layers.UpsamplingNearest2d(scale_factor=(2, 3)),
        ops.upsample_nearest_forward,
        ((2, 3),),
    ),
    "LeakyReLU": (lambda rng: layers.LeakyReLU(0.3), ops.leaky_relu_forward, (0.3,)),
}


@pytest.mark.parametrize("name", PASSED_ON)
def test_layers_pass_their_arguments_on(rng, name):
    """No gradient check sees an option that is lost: it is the right gradient of another layer."""
    make, forward, options = PASSED_ON[name]
    shape = (4, 5) if name.startswith("Linear") else (2, 3, 4, 5)
    layer, x = make(rng), rng.standard_normal(shape).astype("float32")
    parameters = [p.value for p in layer.parameters().values()]
    assert_array_equal(layer.forward(x), forward(x, *parameters, *options)[0])


def test_batch_norm_passes_its_arguments_on(rng):
    layer = layers.BatchNorm2d(3, eps=0.5, momentum=0.3)
    x = rng.standard_normal((2, 3, 4, 5)).astype("float32")
    before = layer.running_mean, layer.running_var, layer.weight.value, layer.bias.value
    y, _, statistics = ops.batch_norm_forward(x, *before, True, 0.3, 0.5)
    assert_array_equal(layer.forward(x), y)
    assert_array_equal([layer.running_mean, layer.running_var], statistics)
