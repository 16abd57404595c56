"""Layers: each gives the results of its op, and adds gradients to its parameters.

The test finds the layers in scratchvae/layers.py and builds each in the sizes of its op's example
cases.
"""

import copy
import inspect
import re
from functools import partial

import numpy as np
import pytest
from harness import as_tuple, on_device
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae import layers, ops
from scratchvae.gradcheck import check_layer
from scratchvae.module import Param
from scratchvae.ops.cases import distinct


@pytest.fixture
def rng():
    return np.random.default_rng(0)


LAYERS = {
    name: layer
    for name, layer in vars(layers).items()
    if inspect.isclass(layer) and issubclass(layer, layers.Layer) and "forward" in vars(layer)
}
PARAMETERS = {"w": "weight", "b": "bias"}  # the op's arrays that are parameters of the layer
STATISTICS = ("running_mean", "running_var")


def op_of(layer):
    """The op that a layer calls, according to its source."""
    found = re.findall(r"(\w+)_forward\(", inspect.getsource(layer.forward))
    assert len(found) == 1, (
        f"{layer.__name__}.forward must call one op, but calls {found or 'none'}"
    )
    return found[0]


def build(layer, case, rng):
    """The layer in the sizes of an example case."""
    options, bias = dict(case.options), "b" in case.shapes
    w = case.shapes.get("w")
    if layer is layers.Linear:
        return layer(w[1], w[0], bias, rng=rng)
    if layer is layers.Conv2d:
        return layer(w[1], w[0], w[2:], bias=bias, rng=rng, **options)
    if layer is layers.ConvTranspose2d:
        return layer(w[0], w[1], w[2:], bias=bias, rng=rng, **options)
    if issubclass(layer, layers.BatchNorm2d):
        training = options.pop("training")
        return layer(*w, **options).train(training)
    assert w is None, f"tests/test_layers.py: build must know how to make a {layer.__name__}"
    return layer(**options)


MAKE = {  # name -> a function of rng, and the shape of x
    name: (partial(build, layer, case), case.shapes["x"])
    for name, layer in LAYERS.items()
    if "x" in (case := ops.CASES[op_of(layer)][0]).shapes
}
WITH_PARAMETERS = [name for name in MAKE if "w" in ops.CASES[op_of(LAYERS[name])][0].shapes]
every_layer = pytest.mark.parametrize("name", MAKE)


def in_float64(layer):
    """Models do this with `to`."""
    for p in layer.parameters().values():
        p.move_into(*(sv.asarray(np.zeros(p.value.shape)) for _ in range(2)))
    for name in layer.buffers:
        setattr(layer, name, getattr(layer, name).astype("float64"))
    return layer


EXAMPLES = [
    pytest.param(layer, case, id=f"{name}{f', {case.variant}' if case.variant else ''}")
    for name, layer in LAYERS.items()
    for case in ops.CASES[op_of(layer)]
]


@pytest.mark.parametrize(("layer", "case"), EXAMPLES)
def test_a_layer_is_its_op(engine, rng, layer, case):
    """forward and backward equal the op, bit for bit, so that a lost option is noticed."""
    op, arrays = op_of(layer), {n: on_device(a) for n, a in case.arrays(0).items()}
    made = in_float64(build(layer, case, rng))
    inputs = []
    for name, array in arrays.items():
        if name in PARAMETERS:
            setattr(made, PARAMETERS[name], array)
        elif name in STATISTICS:
            getattr(made, name)[...] = array
        else:
            inputs.append(array)
    y, cache, *statistics = getattr(ops, f"{op}_forward")(**arrays, **case.options)
    assert_array_equal(sv.asnumpy(made.forward(*inputs)), sv.asnumpy(y))
    for pair in statistics:
        for name, expected in zip(STATISTICS, pair, strict=True):
            assert_array_equal(sv.asnumpy(getattr(made, name)), sv.asnumpy(expected))

    dy = on_device(rng.standard_normal(y.shape))
    gradients = getattr(ops, f"{op}_backward")(dy, cache)
    moving = [name for name in arrays if name not in case.constants]
    expected = dict(zip(moving, as_tuple(gradients), strict=False))
    dinputs = as_tuple(made.backward(dy))
    assert len(dinputs) == len([name for name in moving if name not in PARAMETERS])
    for name, dx in zip(moving, dinputs, strict=False):
        assert_array_equal(sv.asnumpy(dx), sv.asnumpy(expected[name]), f"{layer.__name__}: d{name}")
    for name in PARAMETERS.keys() & arrays.keys():
        got = sv.asnumpy(getattr(made, PARAMETERS[name]).grad)
        assert_array_equal(got, sv.asnumpy(expected[name]), f"{layer.__name__}: d{name}")


def test_every_layer_is_found():
    """A class that calls its op under another name would not be tested."""
    assert {"Linear", "Conv2d", "ReLU", "Reparameterize", "BatchNorm2dLeakyReLU"} <= set(LAYERS)
    for name, layer in LAYERS.items():
        op = op_of(layer)
        assert f"{op}_backward(" in inspect.getsource(layer.backward), f"{name}.backward: {op}"
        assert ops.CASES[op], f"scratchvae/ops/{op}.py has no CASES, which the test of {name} needs"


@every_layer
def test_gradients(engine, rng, name):
    """A layer's dx, and what it adds to its parameters' gradients."""
    build_one, shape = MAKE[name]
    check_layer(in_float64(build_one(rng)), distinct(rng, shape))


def draw(rng, shape):
    """A float32 array on the device of the current engine."""
    return sv.asarray(rng.standard_normal(shape).astype("float32"))


def make(name, rng):
    """The layer, and an input."""
    build_one, shape = MAKE[name]
    return build_one(rng), draw(rng, shape)


def gradients(layer):
    """Copies of the gradients, as NumPy arrays."""
    return {name: sv.asnumpy(p.grad).copy() for name, p in layer.parameters().items()}


@every_layer
def test_a_cache_serves_one_backward(engine, rng, name):
    layer, x = make(name, rng)
    with pytest.raises(RuntimeError, match=f"{name}.backward: no cache"):
        layer.backward(x)
    y = layer.forward(x)
    assert layer.backward(y).shape == x.shape
    with pytest.raises(RuntimeError, match="before every backward"):
        layer.backward(y)
    layer.forward(x, keep=False)
    with pytest.raises(RuntimeError, match="before every backward"):
        layer.backward(y)


@every_layer
def test_an_evaluation_may_come_between(engine, rng, name):
    layer, x = make(name, rng)
    y = layer.forward(x)
    expected, of_parameters = sv.asnumpy(layer.backward(y)), gradients(layer)
    layer.zero_grad()
    layer.forward(x)
    layer.forward(2 - x, keep=False)
    assert_array_equal(sv.asnumpy(layer.backward(y)), expected)
    for n, gradient in gradients(layer).items():
        assert_array_equal(gradient, of_parameters[n])


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_backward_adds_to_the_gradients(engine, rng, name):
    layer, x = make(name, rng)
    dy = draw(rng, layer.forward(x).shape)
    layer.backward(dy)
    once = gradients(layer)
    layer.forward(x)
    layer.backward(dy)
    for n, twice in gradients(layer).items():
        assert_allclose(twice, 2 * once[n], rtol=1e-5)
        assert np.abs(once[n]).max() > 0
    layer.zero_grad()
    assert all((p.grad == 0).all() for p in layer.parameters().values())


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (lambda rng: layers.Linear(64, 50, rng=rng), 1 / 8),
        (lambda rng: layers.Conv2d(4, 50, (2, 2), rng=rng), 1 / 4),
        (lambda rng: layers.ConvTranspose2d(50, 1, 4, rng=rng), 1 / 4),  # fan_in: OUTPUT channels
    ],
)
def test_initial_values_are_pytorchs(rng, make, bound):
    layer = make(rng)
    for p in (layer.weight, layer.bias):
        assert np.abs(p.value).max() <= bound
    assert np.abs(layer.weight.value).max() > 0.95 * bound
    assert_allclose(layer.weight.value.std(), bound / np.sqrt(3), rtol=0.1)


def test_both_dtypes_start_from_the_same_numbers():
    a, b = (
        layers.Linear(5, 6, rng=np.random.default_rng(3), dtype=d) for d in ("float32", "float64")
    )
    assert_array_equal(a.weight.value, b.weight.value.astype("float32"))


def test_no_bias(rng):
    layer = layers.Linear(3, 4, bias=False, rng=rng)
    assert list(layer.parameters()) == ["weight"]
    layer.backward(layer.forward(np.ones((2, 3), "float32")))


def test_batch_norm_stores_its_statistics(engine, rng):
    layer, x = layers.BatchNorm2d(3), rng.standard_normal((4, 3, 2, 2)).astype("float32") + 5
    layer.forward(sv.asarray(x))
    before = layer.state_dict()["running_mean"]
    assert_allclose(before, 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-5)
    assert layer.num_batches_tracked == 1
    layer.eval().forward(sv.asarray(x))
    assert_array_equal(layer.state_dict()["running_mean"], before)
    assert layer.num_batches_tracked == 1
    assert list(layer.state_dict()) == [
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip


def test_batch_norm_passes_its_options_on(rng):
    layer = layers.BatchNorm2d(3, eps=0.5, momentum=0.3)
    x = rng.standard_normal((2, 3, 4, 5)).astype("float32")
    before = layer.running_mean, layer.running_var, layer.weight.value, layer.bias.value
    y, _, statistics = ops.batch_norm_forward(x, *before, True, 0.3, 0.5)
    assert_array_equal(layer.forward(x), y)
    assert_array_equal([layer.running_mean, layer.running_var], statistics)


def test_param_assignment_copies():
    p = Param(np.zeros((2, 2), "float32"))
    held = p.value
    p.value = np.ones((2, 2))
    assert p.value is held and (held == 1).all() and held.dtype == np.float32
    p.grad += np.ones((2, 2), "float32")
    assert (p.grad == 1).all()
    with pytest.raises(ValueError, match=r"Param.value: expected shape \(2, 2\), got \(4,\)"):
        p.value = np.ones(4)
    with pytest.raises(ValueError, match=r"Param.grad: expected shape \(2, 2\), got \(\)"):
        p.grad = 0.0


def test_assigning_to_a_layers_weight_copies_too(rng):
    layer = layers.Linear(2, 3, rng=rng)
    param, held = layer.weight, layer.weight.value
    layer.weight = np.ones((3, 2))
    assert layer.weight is param and (held == 1).all()
    layer.weight = Param(np.full((3, 2), 2.0))
    assert layer.weight is param and (held == 2).all()


def test_state_dict_goes_round(rng):
    a, b = layers.BatchNorm2d(3), layers.BatchNorm2d(3)
    a.forward(rng.standard_normal((4, 3, 2, 2)).astype("float32"))
    a.weight = np.array([1.0, 2.0, 3.0])
    state, expected = a.state_dict(), copy.deepcopy(a.state_dict())
    b.load_state_dict(state)
    for array in state.values():
        array[...] = 9
    for name, array in expected.items():
        assert_array_equal(a.state_dict()[name], array, f"state_dict must copy {name}")
        assert_array_equal(b.state_dict()[name], array, f"load_state_dict must copy {name}")


def test_load_state_dict_lists_every_misfit_and_copies_nothing(rng):
    layer = layers.Linear(2, 3, rng=rng)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(
        ValueError,
        match=r"load_state_dict\(Linear\): missing bias; unknown b; "
        r"weight has shape \(2, 3\), expected \(3, 2\)",
    ):
        layer.load_state_dict({"weight": np.ones((2, 3)), "b": np.ones(3)})
    with pytest.raises(ValueError, match="bias has dtype complex128, expected real numbers"):
        layer.load_state_dict({"weight": np.ones((3, 2)), "bias": 1j * np.ones(3)})
    for name, array in layer.state_dict().items():
        assert_array_equal(array, before[name])


def test_modules_in_lists_have_pytorchs_names(rng):
    class Stack(layers.Module):
        def __init__(self):
            self.encoder = [
                layers.Linear(2, 3, rng=rng),
                layers.ReLU(),
                layers.Linear(3, 1, rng=rng),
            ]

    stack = Stack()
    assert list(stack.parameters()) == [
        "encoder.0.weight", "encoder.0.bias", "encoder.2.weight", "encoder.2.bias",
    ]  # fmt: skip
    assert [m.training for m in stack.eval().modules()] == [False] * 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rng: layers.Linear(0, 3, rng=rng), "Linear: in_features must be at least 1, got 0"),
        (lambda rng: layers.Linear(3, -1, rng=rng), "Linear: out_features must be at least 1"),
        (lambda rng: layers.Conv2d(0, 3, 3, rng=rng), "Conv2d: in_channels must be at least 1"),
        (lambda rng: layers.Conv2d(3, 0, 3, rng=rng), "Conv2d: out_channels must be at least 1"),
        (lambda rng: layers.Conv2d(3, 3, 0, rng=rng), "Conv2d: kernel_size must be at least 1"),
        (lambda rng: layers.Conv2d(3, 3, 3, 0, rng=rng), "Conv2d: stride must be at least 1"),
        (lambda rng: layers.ConvTranspose2d(0, 3, 3, rng=rng), "ConvTranspose2d: in_channels must"),
        (lambda rng: layers.ConvTranspose2d(3, 0, 3, rng=rng), "ConvTranspose2d: out_channels mus"),
        (lambda rng: layers.BatchNorm2d(0), "BatchNorm2d: num_features must be at least 1, got 0"),
        (lambda rng: layers.MaxPool2d(0), "MaxPool2d: kernel_size must be at least 1, got 0"),
        (lambda rng: layers.AvgPool2d(2, 0), "AvgPool2d: stride must be at least 1, got 0"),
        (lambda rng: layers.AdaptiveAvgPool2d(0), "AdaptiveAvgPool2d: output_size must be at"),
        (lambda rng: layers.UpsamplingNearest2d(scale_factor=0), "UpsamplingNearest2d: scale_fac"),
    ],
)
def test_sizes_are_checked_when_a_layer_is_made(rng, make, message):
    with pytest.raises(ValueError, match=message):
        make(rng)


@pytest.mark.parametrize("wrong", [2.0, "2", None, True])
def test_sizes_are_ints(rng, wrong):
    with pytest.raises(TypeError, match="Linear: in_features must be an int, got"):
        layers.Linear(wrong, 3, rng=rng)
    with pytest.raises(TypeError, match="BatchNorm2d: num_features must be an int, got"):
        layers.BatchNorm2d(wrong)


@every_layer
def test_a_printed_layer_can_be_made_again(name, rng):
    """It is printed with the arguments of its constructor."""
    layer = MAKE[name][0](rng)
    names = {n: getattr(layers, n) for n in dir(layers) if n[0].isupper()}

    def with_rng(kind):
        return lambda *args, **settings: kind(*args, rng=np.random.default_rng(0), **settings)

    for product in ("Linear", "Conv2d", "ConvTranspose2d"):
        names[product] = with_rng(names[product])
    again = eval(repr(layer), names)
    assert repr(again) == repr(layer)
    assert {n: p.value.shape for n, p in again.parameters().items()} == {
        n: p.value.shape for n, p in layer.parameters().items()
    }


def test_a_printed_model_shows_its_layers():
    lines = repr(sv.models.build("celeba")).splitlines()
    assert lines[0] == "CelebA("
    norm = "BatchNorm2dLeakyReLU(num_features=32, negative_slope=0.01, eps=1e-05, momentum=0.1)"
    assert f"      (1): {norm}" in lines
    assert lines[-1] == ")"
    for name in sv.models.MODELS:
        shown = repr(sv.models.build(name))
        for module in sv.models.build(name).modules():
            assert f"{type(module).__name__}(" in shown


@pytest.mark.parametrize("kind", [layers.BatchNorm2d, layers.BatchNorm2dLeakyReLU])
def test_batch_norm_without_momentum_averages_over_all_batches(engine, rng, kind):
    norm = layer = kind(3, momentum=None)
    means, variances = [], []
    for N in (4, 2, 5):
        x = draw(rng, (N, 3, 2, 3))
        layer.forward(x)
        means.append(sv.asnumpy(x).mean((0, 2, 3)))
        variances.append(sv.asnumpy(x).var((0, 2, 3), ddof=1))
    assert_allclose(sv.asnumpy(norm.running_mean), np.mean(means, 0), rtol=1e-5, atol=1e-6)
    assert_allclose(sv.asnumpy(norm.running_var), np.mean(variances, 0), rtol=1e-5)
    before = sv.asnumpy(norm.running_mean).copy()
    layer.eval()
    layer.forward(draw(rng, (4, 3, 2, 3)))
    assert_array_equal(sv.asnumpy(norm.running_mean), before)
