"""The models: their gradients, their shapes, and the walls of their parameter buffers."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.gradcheck import check_model
from scratchvae.ops import bce_forward, kl_forward

NAMES = {
    "mlp": "fc1 fc_mu fc_logvar fc2 fc3",
    "conv": "conv1 conv2 fc1 fc_mu fc_logvar fc2 fc3 deconv1 deconv2",
    "ae": "fc1 fc_z fc2 fc3",
}
every_model = pytest.mark.parametrize("name", NAMES)


def batch(model, n=3, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.random((n, *model.image_shape)).astype(model.dtype)
    return x, model.noise(n, rng)


@every_model
def test_every_gradient_by_complex_step(engine, name):
    model = sv.models.build(name, seed=0, dtype="float64")
    errors = check_model(model, *batch(model))
    assert list(errors) == list(model.parameters())
    assert max(errors.values()) <= 1e-10, errors


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_gradients_with_a_kl_weight_and_other_shapes(engine, name):
    model = sv.models.build(
        name, latent_dim=3, image_shape=(2, 8, 12), kl_weight=4.0, seed=0, dtype="float64"
    )
    assert max(check_model(model, *batch(model)).values()) <= 1e-10


@every_model
def test_a_broken_backward_does_not_pass(name):
    """The checks above can fail: a bias gradient off by one part in a million is found."""
    model = sv.models.build(name, seed=0, dtype="float64")
    backward = type(model).backward

    class Broken(type(model)):
        def backward(self):
            backward(self)
            self.fc2.bias.grad *= 1 + 1e-6

    model.__class__ = Broken
    errors = check_model(model, *batch(model))
    assert errors.pop("fc2.bias") > 1e-7
    assert max(errors.values()) <= 1e-10


@pytest.mark.parametrize(
    ("name", "count"), [("mlp", 652_824), ("conv", 1_691_369), ("ae", 644_804)]
)
def test_parameter_counts(name, count):
    assert sv.models.build(name).flat_value.size == count


def test_parameter_counts_of_the_conv_documents_table():
    """The rows of the tutorial it follows, fc3 corrected."""
    sizes = {}
    for parameter, p in sv.models.build("conv").parameters().items():
        layer = parameter.partition(".")[0]
        sizes[layer] = sizes.get(layer, 0) + p.value.size
    assert sizes == {
        "conv1": 544, "conv2": 32_832, "fc1": 803_072, "fc_mu": 5_140, "fc_logvar": 5_140,
        "fc2": 5_376, "fc3": 805_952, "deconv1": 32_800, "deconv2": 513,
    }  # fmt: skip


@every_model
def test_names_are_pytorchs_in_forward_order(name):
    model = sv.models.build(name)
    expected = [f"{layer}.{p}" for layer in NAMES[name].split() for p in ("weight", "bias")]
    assert list(model.parameters()) == list(model.state_dict()) == expected


@every_model
def test_parameters_are_views_of_one_buffer(name):
    model = sv.models.build(name)
    start = 0
    for p in model.parameters().values():
        p.value = np.full(p.value.shape, 3.0)
        p.grad = np.full(p.value.shape, 5.0)
        assert (model.flat_value[start : start + p.value.size] == 3).all()
        start += p.value.size
    model.fc2.weight = np.full(model.fc2.weight.value.shape, 7.0)
    assert (model.flat_value == 7).sum() == model.fc2.weight.value.size
    assert (model.flat_grad == 5).all() and start == model.flat_value.size
    model.zero_grad()
    assert all((p.grad == 0).all() for p in model.parameters().values())


def test_the_flat_buffers_cannot_be_detached():
    model = sv.models.build("mlp")
    model.flat_value = np.full(model.flat_value.size, 2.0)
    model.flat_grad = np.full(model.flat_value.size, 3.0)
    assert (model.fc1.weight.value == 2).all() and (model.fc3.bias.grad == 3).all()
    with pytest.raises(AttributeError, match="MLP.fc1 cannot be replaced"):
        model.fc1 = sv.layers.Linear(784, 400, rng=np.random.default_rng(0))


def test_to_takes_floats_only():
    model = sv.models.build("mlp")
    with pytest.raises(ValueError, match="MLP.to: dtype must be one of .* got int32"):
        model.to("int32")


@every_model
def test_whatever_comes_between_loss_and_backward(name):
    """Decoding, embedding, another loss without keep: the gradients are those of the loss kept."""
    model = sv.models.build(name, dtype="float64")
    (x, eps), (other, noise) = batch(model), batch(model, n=5, seed=2)
    model.loss(x, eps)
    model.backward()
    expected = model.flat_grad.copy()
    model.zero_grad()
    model.loss(x, eps)
    model.generate(noise)
    model.encode(other)
    model.decode(noise)
    model.forward(other, noise)
    model.loss(other, noise, keep=False)
    model.backward()
    assert_array_equal(model.flat_grad, expected)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_a_failed_loss_leaves_nothing_to_go_back_through(name):
    model = sv.models.build(name)
    x, eps = batch(model)
    model.loss(x, eps)
    with pytest.raises(ValueError, match="shapes must agree"):
        model.loss(x, eps[:2])
    with pytest.raises(RuntimeError, match="no cache"):
        model.backward()
    assert (model.flat_grad == 0).all()


CLONES = [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]


@pytest.mark.parametrize("clone", CLONES)
def test_copies_have_buffers_of_their_own(clone):
    model = sv.models.build("mlp")
    other = clone(model)
    other.flat_value[...] = 1
    assert (other.fc1.weight.value == 1).all()
    assert not (model.fc1.weight.value == 1).any()
    model.flat_value = np.full(model.flat_value.size, 2.0)
    assert (model.fc1.weight.value == 2).all(), "the original must keep its own buffer"


@every_model
def test_loss_is_what_its_parts_say(engine, name):
    model = sv.models.build(
        name, seed=0, dtype="float64", **({} if name == "ae" else {"kl_weight": 3.0})
    )
    x, eps = batch(model)
    losses = model.loss(x, eps, keep=False)
    if name == "ae":
        expected = ((model.forward(x, keep=False) - x) ** 2).sum() / len(x)
        assert losses == (pytest.approx(expected), pytest.approx(expected), 0)
    else:
        logits, mu, logvar = model.forward(x, eps, keep=False)
        reconstruction, kl = bce_forward(logits, x)[0].mean(), kl_forward(mu, logvar)[0].mean()
        assert losses == (pytest.approx(reconstruction + 3 * kl), reconstruction, kl)


@every_model
def test_everything_stays_float32(engine, name):
    """float64 creeping in from noise or a constant would make all that follows twice as slow."""
    model = sv.models.build(name)
    x, eps = batch(model)
    assert eps.dtype == np.float32
    losses = model.loss(x, eps)
    assert [part.dtype for part in losses] == [np.float32] * 3
    model.backward()
    assert model.generate(eps).dtype == model.embed(x).dtype == np.float32
    assert model.flat_grad.dtype == np.float32 and np.isfinite(model.flat_grad).all()


@every_model
def test_shapes_and_range(engine, name):
    model = sv.models.build(name, latent_dim=5)
    x, eps = batch(model, n=4)
    assert eps.shape == model.embed(x).shape == (4, *model.latent_shape) == (4, 5)
    for images in (model.reconstruct(x), model.generate(eps)):
        assert images.shape == (4, *model.image_shape) == (4, 1, 28, 28)
        assert images.min() >= model.data_range[0] and images.max() <= model.data_range[1]


@every_model
def test_one_backward_for_each_loss(name):
    model = sv.models.build(name)
    x, eps = batch(model)
    with pytest.raises(RuntimeError, match=f"{type(model).__name__}.backward: no cache"):
        model.backward()
    model.loss(x, eps)
    model.backward()
    with pytest.raises(RuntimeError, match="no cache"):
        model.backward()
    model.loss(x, eps, keep=False)
    with pytest.raises(RuntimeError, match="no cache"):
        model.backward()


@every_model
def test_a_second_forward_leaves_the_first_result_intact(engine, name):
    model = sv.models.build(name)
    x, eps = batch(model)
    first = model.reconstruct(x)
    kept = first.copy()
    model.reconstruct(1 - x)
    assert_array_equal(first, kept)


@every_model
def test_engines_give_the_same_gradients(name):
    gradients = {}
    for engine in ("numpy", "numba"):
        with sv.using(engine):
            model = sv.models.build(name, dtype="float64")
            model.loss(*batch(model))
            model.backward()
            gradients[engine] = model.flat_grad
    scale = np.abs(gradients["numpy"]).max()
    assert_allclose(gradients["numba"], gradients["numpy"], rtol=0, atol=1e-12 * scale)


@every_model
def test_wrong_images_are_refused(name):
    model = sv.models.build(name)
    x, eps = batch(model)
    who = type(model).__name__
    with pytest.raises(
        ValueError,
        match=rf"{who}.loss: x must have shape \(N, 1, 28, 28\) with N > 0, got \(3, 784\)",
    ):
        model.loss(x.reshape(3, 784), eps)
    with pytest.raises(
        ValueError, match=rf"{who}.loss: x must lie in \[0, 1\], got values from -1 to"
    ):
        model.loss(2 * np.round(x) - 1, eps)
    with pytest.raises(
        TypeError, match="all arrays must share one dtype, got x float64, w float32"
    ):
        model.loss(x.astype("float64"), eps)


def test_conv_needs_multiples_of_four():
    with pytest.raises(
        ValueError, match="Conv: image height and width must be multiples of 4, got 28 x 30"
    ):
        sv.models.build("conv", image_shape=(1, 28, 30))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg", {}, "build: unknown model 'vgg'; there are mlp, conv, ae"),
        ("mlp", {"dtype": "float16"}, "build: dtype must be 'float32' or 'float64', got 'float16'"),
        (
            "ae",
            {"kl_weight": 1.0},
            "build: model 'ae' has no option kl_weight; it has latent_dim, image",
        ),
        ("mlp", {"latent_dim": 0}, "build: latent_dim must be an int of at least 1, got 0"),
        ("conv", {"latent_dim": "2"}, "build: latent_dim must be an int of at least 1, got '2'"),
        (
            "mlp",
            {"image_shape": (28, 28)},
            r"build: image_shape must be \(C, H, W\), got \(28, 28\)",
        ),
        (
            "mlp",
            {"image_shape": (1, 0, 28)},
            "build: image_shape must be an int of at least 1, got 0",
        ),
        (
            "mlp",
            {"kl_weight": float("nan")},
            "build: kl_weight must be a number of at least 0, got nan",
        ),
    ],
)
def test_build_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        sv.models.build(name, **options)


def test_weights_are_not_what_the_caller_draws_from_the_same_seed():
    bound = 784**-0.5
    drawn = np.random.default_rng(0).uniform(-bound, bound, 1000)
    weights = sv.models.build("mlp", seed=0, dtype="float64").flat_value[:1000]
    assert abs(np.corrcoef(drawn, weights)[0, 1]) < 0.2


def test_seeds():
    a, b, c = (sv.models.build("mlp", seed=seed).flat_value for seed in (0, 0, 1))
    assert_array_equal(a, b)
    assert (a != c).mean() > 0.99
