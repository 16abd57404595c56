"""Training steps on the GPU: a graph repeats what the kernels do one by one."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from harness import on_device
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae.gpu.graph import _ON_DEVICE, GPUStepper, record
from scratchvae.gpu.philox import fill_normal
from scratchvae.layers import BatchNorm2d
from scratchvae.ops import Losses
from scratchvae.optim import SGD, Adam, AdamW, clip_grad_norm
from scratchvae.train import train_step

SMALL = {"mlp": (1, 4, 4), "conv": (1, 8, 8), "tiny": (1, 28, 28), "ae": (1, 4, 4)}
IMAGE_SHAPES = SMALL | {"celeba": (3, 32, 32), "skip": (3, 64, 64)}


@pytest.fixture(
    params=[
        pytest.param("on_host", marks=pytest.mark.cuda_on_host),
        pytest.param("gpu", marks=pytest.mark.gpu),
    ]
)
def cupy(request):
    """CuPy or the stand-in, with the engine cuda."""
    if request.param == "on_host":
        request.getfixturevalue("cupy_on_host")
    elif problem := sv.backend.gpu_problem():
        pytest.skip(problem)
    with sv.using("cuda"):
        yield __import__("cupy")


def build(name="mlp", dtype="float32", **options):
    return sv.models.build(name, image_shape=IMAGE_SHAPES[name], dtype=dtype, **options)


def images(model, N, seed=0):
    low, high = model.data_range
    rng = np.random.default_rng(seed)
    return sv.asarray(rng.uniform(low, high, (N, *model.image_shape)).astype(model.dtype))


# Two batch sizes occur twice in a row, which makes two graphs; one does not.
SIZES = (3, 3, 3, 2, 2, 2, 3, 1, 2)


def train(model, optimizer, sizes, **options):
    stepper = GPUStepper(model, optimizer, **options)
    stepper.seed = 5
    for k, N in enumerate(sizes):
        stepper.step(images(model, N, k))
    return losses(stepper), model.state_dict()


def losses(stepper):
    """The mean losses over the images since the last call."""
    *totals, count = stepper.sums
    stepper.sums = [0.0] * 4
    return Losses(*(total / count for total in totals))


def with_and_without_graph(work):
    """work(graph) gives the same state in both cases, bit for bit; returns that state."""
    state, other = work(graph=True), work(graph=False)
    for name, a in state.items():
        assert_array_equal(a, other[name], name)
    return state


def set_momentum(model, momentum):
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.momentum = momentum


@pytest.mark.parametrize(
    ("name", "max_norm", "sizes"),
    [
        ("mlp", None, SIZES),
        ("mlp", 0.5, SIZES),
        ("conv", None, SIZES),
        ("tiny", None, SIZES),
        ("ae", 0.5, SIZES),
        # with batch norm, whose running statistics are state of the graph
        ("celeba", None, (2, 2, 2)),
        ("skip", None, (2, 2, 2)),
    ],
)
def test_a_graph_gives_the_numbers_of_its_kernels(cupy, few_channels, name, max_norm, sizes):
    def work(graph):
        model = build(name)
        losses, state = train(model, Adam(model), sizes, graph=graph, max_norm=max_norm)
        return state | losses._asdict()

    with_and_without_graph(work)


def test_a_batch_norm_that_counts_its_batches(cupy, few_channels):
    """A graph would reuse the first batch's weight in the running statistics."""

    def work(graph):
        model = build("celeba")
        set_momentum(model, None)
        return train(model, SGD(model, lr=0.0), (2, 2, 2), graph=graph)[1]

    assert with_and_without_graph(work)["encoder.0.1.num_batches_tracked"] == 3


def beside_train_step(make, change, max_norm=None, **options):
    """Six steps, compared with `train_step` on NumPy and the same noise; `change` changes model and
    optimizer in the middle of the run. Returns the stepper."""
    model = build(dtype="float64", **options)
    stepper = GPUStepper(model, make(model), max_norm=max_norm)
    stepper.seed = 5
    with sv.using("numpy"):
        other = build(dtype="float64", **options)
        optimizer = make(other)
    total = 0.0
    for k in range(6):
        if k == 3:
            change(model, stepper._optimizer)
            change(other, optimizer)
        x, eps = images(model, 3, k), np.empty((3, *model.latent_shape))
        stepper.step(x)
        fill_normal(eps, 5, k)
        total += train_step(other, optimizer, x.get(), eps, max_norm).total
    assert_allclose(losses(stepper).total, total / 6, rtol=1e-12)
    assert_allclose(model.flat_value.get(), other.flat_value, rtol=1e-9, atol=1e-12)
    assert stepper._optimizer.steps == optimizer.steps == 6
    return stepper


@pytest.mark.parametrize("make", [SGD, Adam, AdamW, lambda m: SGD(m, momentum=0.9, nesterov=True)])
def test_the_steps_are_those_of_train_step(cupy, make):
    """Step, lr, beta and clipping are on the device."""

    def change(model, optimizer):
        model.kl_weight, optimizer.lr = 0.2, 3e-3

    beside_train_step(make, change, max_norm=2.0, kl_weight=0.7)


def test_free_bits_in_a_graph(cupy):
    """A new value of free_bits needs a new graph, because it is an argument of the kernels."""

    def change(model, optimizer):
        model.free_bits = 0.003

    stepper = beside_train_step(lambda model: SGD(model, lr=0.1), change, free_bits=0.01)
    assert len(stepper._device.graphs) == 2


def test_nothing_is_copied_between_host_and_device(cupy_on_host):
    """Neither in a step with a graph nor without one, nor in train_step. Only the first step may
    copy: cuBLAS gets its workspace."""
    with sv.using("cuda"):
        for name in SMALL:
            model = build(name)
            optimizer = Adam(model)
            x, eps = images(model, 2), sv.asarray(np.zeros((2, *model.latent_shape), "float32"))
            stepper, eager = (GPUStepper(model, optimizer, graph=graph) for graph in (True, False))
            cupy_on_host.copies.clear()
            for _ in range(3):
                stepper.step(x)
                eager.step(x)
                found = train_step(model, optimizer, x, eps)
                clip_grad_norm(model, 1.0)
                with model.evaluating():
                    model.loss(x, eps, keep=False)
            assert not cupy_on_host.copies, name
            losses(stepper)
            assert cupy_on_host.copies == {"to host": 1}, name
            assert found.total.shape == ()


def test_a_loss_that_is_not_finite_names_its_step(cupy):
    model = build()
    optimizer = Adam(model)
    stepper = GPUStepper(model, optimizer)
    x = images(model, 2)
    bad = x.copy()
    bad[1, 0, 2, 2] = 1.5  # not a probability
    for k in range(5):
        stepper.step(bad if k == 3 else x)
    with pytest.raises(
        FloatingPointError, match="the loss of step 4 was not finite: try a smaller lr"
    ):
        losses(stepper)
    model.load_state_dict(build(seed=1).state_dict())
    optimizer.m[...], optimizer.v[...] = 0, 0
    stepper.step(x)
    assert np.isfinite(losses(stepper).total)  # with finite weights training continues


def one(number, dtype):
    """A 0-d array, which `on_device` returns as it is."""
    return on_device(np.array([number], dtype)).reshape(())


def test_record(engine):
    """A step of three images, one of two, and two failing ones: the first failure is recorded."""
    sums, bad_step = on_device(np.zeros(4)), one(0, "int64")
    for step, total, N in ((1, 4.0, 3), (2, 9.0, 2), (3, np.inf, 1), (4, np.nan, 1)):
        losses = (one(a, "float32") for a in (total, 3.0, 1.0))
        with np.errstate(invalid="ignore"):
            record(*losses, sums, bad_step, one(step, "int64"), N)
        if step == 2:
            assert sv.asnumpy(sums).tolist() == [30, 15, 5, 5]
            assert int(sv.asnumpy(bad_step)) == 0
    assert int(sv.asnumpy(bad_step)) == 3


def test_losses_are_means_over_images_since_the_last_call(cupy):
    """Batches are weighted by their number of images."""
    model = build("ae", dtype="float64")
    stepper = GPUStepper(model, SGD(model, lr=0.0))
    small, large = images(model, 1, 0), images(model, 3, 1)
    expected = [float(model.loss(x).total) for x in (small, large)]
    stepper.step(small)
    stepper.step(large)
    assert_allclose(losses(stepper).total, (expected[0] + 3 * expected[1]) / 4, rtol=1e-12)
    stepper.step(large)
    assert_allclose(losses(stepper).total, expected[1], rtol=1e-12)
    assert stepper.sums == [0.0] * 4
    stepper.sums = [4.0, 3.0, 1.0, 2.0]  # the sums of a stopped run
    assert stepper.sums == [4.0, 3.0, 1.0, 2.0]


def test_weights_may_change_in_place_and_move(cupy):
    """load_state_dict writes into the memory that the graph reads; `to` allocates new memory, which
    needs a new graph."""
    model = build(dtype="float64")
    optimizer = Adam(model)
    stepper, x = GPUStepper(model, optimizer), images(model, 2)
    start = model.state_dict()
    for _ in range(3):
        stepper.step(x)
    losses(stepper)
    model.load_state_dict(start)
    stepper.step(x)
    eps = np.empty((2, *model.latent_shape))
    fill_normal(eps, 0, 3)
    fresh = build(dtype="float64")
    assert_allclose(losses(stepper).total, float(fresh.loss(x, sv.asarray(eps)).total), rtol=1e-12)
    model.to("cpu")
    model.to("cuda")
    before = model.flat_value.get()
    stepper.step(x)
    assert np.isfinite(losses(stepper).total)
    assert (model.flat_value.get() != before).any()


def test_another_mode_is_another_graph(cupy):
    model = build()
    stepper, x = GPUStepper(model, Adam(model)), images(model, 2)
    for _ in range(2):
        for _ in range(3):
            stepper.step(x)
        model.eval()
    assert len(stepper._device.graphs) == 2


def test_what_changes_between_steps_is_not_missed(cupy):
    """Optimizer settings, replaced arrays, a mode."""

    def work(graph):
        model = build(dtype="float64")
        optimizer = AdamW(model)
        stepper, x = GPUStepper(model, optimizer, graph=graph), images(model, 2)
        for change in (
            lambda: None,
            lambda: setattr(optimizer, "weight_decay", 0.5),
            lambda: setattr(optimizer, "m", cupy.zeros_like(optimizer.m)),
            lambda: setattr(optimizer, "betas", (0.5, 0.9)),
            lambda: setattr(model, "free_bits", 0.01),
            lambda: model.to("cpu").to("cuda"),
            lambda: setattr(stepper, "seed", 2**40),
        ):
            change()
            for _ in range(3):
                stepper.step(x)
        assert len(stepper._device.graphs) == graph  # earlier graphs wrote to other arrays
        return model.state_dict()

    with_and_without_graph(work)


def test_two_models_do_not_run_at_once(cupy):
    """They share a stream, because each stream has one cuBLAS workspace."""
    one, other = build(), build("ae")
    assert GPUStepper(one, Adam(one)).stream is GPUStepper(other, Adam(other)).stream


def test_steppers_of_an_optimizer_share_its_graphs(cupy):
    """So `train_epoch`, which makes a stepper per epoch, captures only once. Clipping needs another
    graph, and the sums of one stepper are not part of the next."""
    model = build()
    optimizer, x = Adam(model), images(model, 2)
    for max_norm in (None, None, 1.0):
        stepper = GPUStepper(model, optimizer, max_norm)
        assert stepper.sums == [0.0] * 4
        for _ in range(3):
            stepper.step(x)
    assert len(_ON_DEVICE[optimizer].graphs) == 2 and optimizer.steps == 9


def test_a_constant_of_a_layer_may_change(cupy, few_channels):
    """A capture fixes it; the next step is captured again."""

    def work(graph):
        model = build("celeba")
        stepper, x = GPUStepper(model, SGD(model), graph=graph), images(model, 2)
        for momentum in (0.1, 0.9):
            set_momentum(model, momentum)
            for _ in range(3):
                stepper.step(x)
        return model.state_dict()

    with_and_without_graph(work)


def test_a_copied_optimizer_captures_graphs_of_its_own(cupy):
    model = build()
    optimizer, x = Adam(model), images(model, 2)
    stepper = GPUStepper(model, optimizer)
    for _ in range(3):
        stepper.step(x)
    before = model.flat_value.get()
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert other not in _ON_DEVICE and other.model is not model
        GPUStepper(other.model, other).step(x)
        assert len(_ON_DEVICE[optimizer].graphs) == 1 and not _ON_DEVICE[other].graphs
    assert_array_equal(model.flat_value.get(), before)


def test_graphs_are_freed_with_their_optimizer(cupy):
    """They are freed at once, because no reference cycle keeps the GPU's memory."""
    model = build()
    optimizer, x = Adam(model), images(model, 2)
    for _ in range(2):
        GPUStepper(model, optimizer).step(x)
    on_device = weakref.ref(_ON_DEVICE[optimizer])
    gc.disable()
    try:
        del optimizer
        assert on_device() is None
    finally:
        gc.enable()


def test_errors(cupy):
    model, other = build(), build()
    stepper, x = GPUStepper(model, Adam(model)), images(model, 2)
    for _ in range(2):  # before the capture and after
        with pytest.raises(
            TypeError, match="GPUStepper: x must be an array on the GPU, got ndarray"
        ):
            stepper.step(x.get())
        with pytest.raises(ValueError, match=r"MLP.loss: x must have shape .* got \(2, 1, 1, 1\)"):
            stepper.step(x[:, :, :1, :1])
        with pytest.raises(TypeError, match="MLP.loss: x must be float32 like the model"):
            stepper.step(x.astype("float64"))
        with pytest.raises(TypeError, match="MLP.loss: x must be float32 .*, got uint8; data"):
            stepper.step(x.astype("uint8"))
        with pytest.raises(ValueError, match=r"N > 0, got \(0, 1, 4, 4\)"):
            stepper.step(x[:0])
        for _ in range(3):
            stepper.step(x)
    with pytest.raises(ValueError, match="GPUStepper: the optimizer was made for another model"):
        GPUStepper(model, Adam(other))
    with pytest.raises(ValueError, match="max_norm must be above 0, got 0"):
        GPUStepper(model, Adam(model), max_norm=0).step(x)
    with pytest.raises(ValueError, match=r"is on the CPU; move it with model.to\('cuda'\)"):
        GPUStepper(model.to("cpu"), Adam(model))
