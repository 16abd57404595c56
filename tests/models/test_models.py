"""What holds for every model: gradients, names, shapes, and the bounds of parameter buffers."""

import copy
import functools
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.gradcheck import check_model
from scratchvae.models import MODELS
from scratchvae.models.inspect import watched
from scratchvae.ops import bce_forward, kl_forward, mse_forward

LARGE = pytest.mark.slow  # 64 x 64 pixels; test_celeba.py and test_skip.py take fewer channels
every_model = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=LARGE if n in ("celeba", "skip") else ()) for n in MODELS]
)
few_steps = pytest.mark.parametrize(  # a complex step per number; the other models take seconds
    "name", [pytest.param(n, marks=() if n == "tiny" else pytest.mark.slow) for n in MODELS]
)
variational = pytest.mark.parametrize("name", [name for name in MODELS if name != "ae"])


def batch(model, n=3, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.uniform(*model.data_range, (n, *model.image_shape)).astype(model.dtype)
    return sv.asarray(x), model.noise(n, rng)


def build(name, **options):
    """The model, images and noise."""
    model = sv.models.build(name, seed=0, **options)
    return model, *batch(model)


@pytest.fixture(scope="module")
def found_right():
    """Name of a model -> its report by the complex step, its gradients on NumPy, and the batch."""

    @functools.cache
    def check(name):
        with sv.using("numpy"):
            model = sv.models.build(name, seed=0, dtype="float64")
            n, samples = {"celeba": (2, 0), "skip": (1, 0)}.get(name, (3, 4))
            x, eps = batch(model, n)
            report = check_model(model, x, eps, samples=samples)
            model.loss(x, eps)
            model.backward()
        return report, {n: p.grad for n, p in model.parameters().items()}, (x, eps)

    return check


@few_steps
def test_every_gradient_by_complex_step(engine, found_right, few_channels, name):
    """The complex step runs the same NumPy code on every engine: it checks NumPy's gradients. The
    gradients of each engine are compared with NumPy's, tensor by tensor."""
    report, right, images = found_right(name)
    model = sv.models.build(name, seed=0, dtype="float64")
    assert [result.tensor for result in report] == list(model.parameters())
    assert report.worst.error <= 1e-10, report
    model.loss(*map(sv.asarray, images))
    model.backward()
    largest = max(np.abs(g).max() for g in right.values())
    for tensor, p in model.parameters().items():
        off = np.abs(sv.asnumpy(p.grad) - right[tensor]).max()
        zero = 1e-12 * largest if tensor in report.zeros else 0
        assert off <= max(1e-10 * np.abs(right[tensor]).max(), zero), tensor


@pytest.mark.parametrize(
    ("name", "image_shape"),
    [
        ("mlp", (2, 8, 12)),
        ("conv", (2, 8, 12)),
        pytest.param("celeba", (2, 32, 32), marks=pytest.mark.slow),
    ],
)
def test_gradients_with_a_kl_weight_and_other_shapes(few_channels, name, image_shape):
    model = sv.models.build(
        name, latent_dim=3, image_shape=image_shape, kl_weight=4.0, seed=0, dtype="float64"
    )
    assert check_model(model, *batch(model), samples=0).worst.error <= 1e-10


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("mlp", {}, 652_824),
        ("conv", {}, 1_691_369),
        ("tiny", {}, 9_569 + 1_536 * 20),
        ("tiny", {"latent_dim": 7}, 9_569 + 1_536 * 7),
        ("celeba", {}, 3_928_329),
        ("skip", {}, 3_733_691),
        ("skip", {"latent": "learned"}, 3_865_275),
        ("ae", {}, 644_804),
    ],
)
def test_parameter_counts(name, options, count):
    assert sv.models.build(name, **options).flat_value.size == count


@every_model
def test_the_buffer_is_in_forward_order(name):
    """tests/golden holds the names to those of PyTorch."""
    model, called = sv.models.build(name), []
    with watched(model, lambda layer, *_: called.append(layer)):
        model.forward(*batch(model))
    layers = list(dict.fromkeys(n.rpartition(".")[0] for n in model.state_dict()))
    assert layers == [layer for layer in dict.fromkeys(called) if layer in layers]
    names = [n for n in model.state_dict() if n.endswith((".weight", ".bias"))]
    assert list(model.parameters()) == names


@every_model
def test_parameters_are_views_of_one_buffer(name):
    model = sv.models.build(name)
    start = 0
    for p in model.parameters().values():
        p.value = np.full(p.value.shape, 3.0)
        p.grad = np.full(p.value.shape, 5.0)
        assert (model.flat_value[start : start + p.value.size] == 3).all()
        start += p.value.size
    p.value = np.full(p.value.shape, 7.0)
    assert (model.flat_value == 7).sum() == p.value.size
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
    with pytest.raises(ValueError, match="MLP.to: expected 'cuda', 'cpu' or one of .* got 'int32'"):
        model.to("int32")


@every_model
def test_whatever_comes_between_loss_and_backward(few_channels, name):
    """Decoding, embedding, another loss without keep: the gradients are those of the kept loss."""
    model = sv.models.build(name, dtype="float64")
    (x, eps), (other, noise) = batch(model), batch(model, n=5, seed=2)
    model.loss(x, eps)
    model.backward()
    expected = model.flat_grad.copy()
    model.zero_grad()
    model.loss(x, eps)
    model.generate(noise)
    model.embed(other)
    model.encode(other)
    model.decode(noise)
    model.forward(other, noise)
    model.loss(other, noise, keep=False)
    model.backward()
    assert_array_equal(model.flat_grad, expected)


@variational
def test_a_failed_loss_leaves_nothing_to_go_back_through(few_channels, name):
    model, x, eps = build(name)
    model.loss(x, eps)
    with pytest.raises(ValueError, match=r"eps must have shape \(3, .*got \(2, "):
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


def floats(losses):
    return [float(part) for part in losses]


@every_model
def test_loss_is_what_its_parts_say(engine, name):
    model, x, eps = build(name, dtype="float64", **({} if name == "ae" else {"kl_weight": 3.0}))
    losses = floats(model.loss(x, eps, keep=False))
    if name == "ae":
        expected = ((model.forward(x, keep=False) - x) ** 2).sum() / len(x)
        assert losses == [pytest.approx(float(expected))] * 2 + [0]
    else:
        output, mu, logvar = model.forward(x, eps, keep=False)
        error = bce_forward if isinstance(model, sv.models.BernoulliVAE) else mse_forward
        terms = error(output, x)[0], kl_forward(mu, logvar)[0]
        reconstruction, kl = floats(term.mean() for term in terms)
        # a CUDA kernel sums in another order; on other engines it is the same sum
        rounding = 1e-14 if sv.backend.current_engine() == "cuda" else 0
        assert losses[0] == pytest.approx(reconstruction + 3 * kl)
        assert losses[1:] == pytest.approx([reconstruction, kl], rel=rounding, abs=0)


@every_model
def test_everything_stays_float32(engine, name):
    """float64 noise or a float64 constant would make everything after it twice as slow."""
    model, x, eps = build(name, **({} if name == "ae" else {"free_bits": 0.05}))
    assert eps.dtype == np.float32
    losses = model.loss(x, eps)
    assert [part.dtype for part in losses] == [np.float32] * 3
    model.backward()
    assert model.generate(eps).dtype == model.embed(x).dtype == np.float32
    assert model.flat_grad.dtype == np.float32
    assert np.isfinite(sv.asnumpy(model.flat_grad)).all()


@every_model
def test_shapes_and_range(engine, name):
    model = sv.models.build(name, **({} if name == "skip" else {"latent_dim": 5}))
    x, eps = batch(model, n=4)
    assert model.latent_shape == ((256, 1, 1) if name == "skip" else (5,))
    assert eps.shape == model.embed(x).shape == (4, *model.latent_shape)
    for images in (model.reconstruct(x), model.generate(eps)):
        assert images.shape == (4, *model.image_shape)
        assert images.min() >= model.data_range[0] and images.max() <= model.data_range[1]


@every_model
def test_one_backward_for_each_loss(few_channels, name):
    model, x, eps = build(name)
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
    model, x, eps = build(name)
    first = model.reconstruct(x)
    kept = first.copy()
    model.reconstruct(x[::-1] ** 2)
    assert_array_equal(*map(sv.asnumpy, (first, kept)))


@every_model
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_model_says_what_it_was_given(name, engine):
    """The error names the model, not an op inside it that the caller does not know."""
    model, x, eps = build(name)
    who = type(model).__name__
    calls = {
        "loss: x": lambda a: model.loss(a, eps),
        "embed: x": model.embed,
        "generate: z": model.generate,
    }
    if name != "ae":  # ae has no noise
        calls["loss: eps"] = lambda a: model.loss(x, a)
    if name == "skip":
        calls["generate: skips_from"] = lambda a: model.generate(eps, skips_from=a)
    with sv.using(engine):
        for what, call in calls.items():
            right = eps if what in ("generate: z", "loss: eps") else x
            for wrong in (right.tolist(), np.ma.masked_array(right), None, 3.0):
                if wrong is None and "skips_from" in what:
                    continue
                came = type(wrong).__name__
                expected = f"{who}.{what} must be a NumPy or CuPy array, got {came}"
                with pytest.raises(TypeError, match=re.escape(expected)):
                    call(wrong)
            for dtype in ("float64", "float16", "uint8", "complex128"):
                expected = f"{who}.{what} must be float32 like the model, got {dtype}"
                with pytest.raises(TypeError, match=re.escape(expected)):
                    call(right.astype(dtype))
            wider, number = np.concatenate([right, right], axis=-1), np.array(1, "float32")
            for wrong in (right[..., None], right.ravel(), right[:0], wider, number):
                with pytest.raises(ValueError, match=rf"{who}.{what} must have shape \("):
                    call(wrong)
            if what in ("loss: x", "embed: x"):
                low, high = model.data_range
                expected = rf"{who}.{what} must lie in \[{low:g}, {high:g}\], got values from -4 to"
                with pytest.raises(ValueError, match=expected):
                    call(np.where(right < right.mean(), -4, 5).astype("float32"))
            if what in ("loss: eps", "generate: skips_from"):
                with pytest.raises(ValueError, match=rf"{who}.{what} must have shape \({len(x)}, "):
                    call(right[:1])


@every_model
def test_pictures_are_made_in_evaluation_mode(few_channels, name):
    """The modes of the layers are restored afterwards, also after an error."""
    model = sv.models.build(name)
    frozen = [*model.modules()][-1].eval()
    modes, state = [m.training for m in model.modules()], model.state_dict()
    x, eps = batch(model)
    images = model.reconstruct(x), model.generate(eps), model.embed(x)
    assert [m.training for m in model.modules()] == modes and not frozen.training
    for n, array in model.state_dict().items():
        assert_array_equal(array, state[n])
    model.eval()
    for a, b in zip(
        images, (model.reconstruct(x), model.generate(eps), model.embed(x)), strict=True
    ):
        assert_array_equal(a, b)
    model.train()
    with pytest.raises(KeyboardInterrupt), model.evaluating():
        assert not model.training
        raise KeyboardInterrupt
    assert model.training


@variational
def test_reconstruct_is_the_forward_pass_without_noise(few_channels, name):
    """It uses z = mu and is deterministic; forward with noise is sampled."""
    model, x, eps = build(name, dtype="float64")
    model.eval()
    output = model.forward(x, 0 * eps)[0]
    if isinstance(model, sv.models.BernoulliVAE):
        output = 1 / (1 + np.exp(-output))
    assert_allclose(model.reconstruct(x), output, rtol=1e-12)
    assert np.abs(model.forward(x, eps)[0] - model.forward(x, 0 * eps)[0]).max() > 0
