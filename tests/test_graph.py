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
    return sv.models.build(name, image_shape=SMALL[name], dtype=dtype, **options)


def images(model, N, seed=0):
    low, high = model.data_range
    rng = np.random.default_rng(seed)
    return sv.asarray(rng.uniform(low, high, (N, *model.image_shape)).astype(model.dtype))


def train(model, optimizer, sizes=(3, 3, 3, 2, 2, 2, 3, 1, 2), seed=5, **options):
    stepper = GPUStepper(model, optimizer, **options)
    stepper.seed = seed
    for k, N in enumerate(sizes):
        stepper.step(images(model, N, k))
    return losses(stepper), model.state_dict()


def losses(stepper):
    """The mean losses over the images since the last call."""
    *totals, count = stepper.sums
    stepper.sums = [0.0] * 4
    return Losses(*(total / count for total in totals))


@pytest.mark.parametrize(
    ("name", "max_norm"), [("mlp", None), ("mlp", 0.5), ("conv", None), ("tiny", None), ("ae", 0.5)]
)
def test_a_graph_gives_the_numbers_of_its_kernels(cupy, name, max_norm):
    """Two batch sizes occur twice in a row, which makes two graphs; one does not. Bit for bit."""
    (losses, state), (other_losses, other_state) = (
        train(model, Adam(model), graph=graph, max_norm=max_norm)
        for graph in (True, False)
        for model in [build(name)]
    )
    assert losses == other_losses
    for key, a in state.items():
        assert_array_equal(a, other_state[key], key)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("celeba", 32), ("skip", 64)])
def test_large_models_as_graphs(cupy, name, size):
    """With batch norm, whose running statistics are state of the graph."""
    SMALL[name] = (3, size, size)
    results = [train(m, Adam(m), (2, 2, 2), graph=g) for g in (True, False) for m in [build(name)]]
    assert results[0][0] == results[1][0]
    for key, a in results[0][1].items():
        assert_array_equal(a, results[1][1][key], key)


@pytest.mark.slow
def test_a_batch_norm_that_counts_its_batches(cupy):
    """A graph would reuse the first batch's weight in the running statistics."""
    SMALL["celeba"] = (3, 32, 32)
    statistics = []
    for graph in (True, False):
        model = build("celeba")
        for module in model.modules():
            if isinstance(module, BatchNorm2d):
                module.momentum = None
        train(model, SGD(model, lr=0.0), (2, 2, 2), graph=graph)
        statistics.append(model.state_dict())
    for key, a in statistics[0].items():
        assert_array_equal(a, statistics[1][key], key)
    assert statistics[0]["encoder.0.1.num_batches_tracked"] == 3


@pytest.mark.parametrize("make", [SGD, Adam, AdamW, lambda m: SGD(m, momentum=0.9, nesterov=True)])
def test_the_steps_are_those_of_train_step(cupy, make):
    """Compared with NumPy and the same noise: step, lr, beta and clipping are on the device."""
    model = build(dtype="float64", kl_weight=0.7)
    optimizer = make(model)
    stepper = GPUStepper(model, optimizer, max_norm=2.0)
    stepper.seed = 5
    with sv.using("numpy"):
        other = build(dtype="float64", kl_weight=0.7)
        other_optimizer = make(other)
    total = 0.0
    for k in range(6):
        if k == 3:  # in the middle of a run
            model.kl_weight = other.kl_weight = 0.2
            optimizer.lr = other_optimizer.lr = 3e-3
        x = images(model, 3, k)
        stepper.step(x)
        eps = np.empty((3, *model.latent_shape))
        fill_normal(eps, 5, k)
        other_optimizer.zero_grad()
        total += other.loss(x.get(), eps).total
        other.backward()
        clip_grad_norm(other, 2.0)
        other_optimizer.step()
    assert_allclose(losses(stepper).total, total / 6, rtol=1e-12)
    assert_allclose(model.flat_value.get(), other.flat_value, rtol=1e-9, atol=1e-12)
    assert optimizer.steps == other_optimizer.steps == 6


def test_free_bits_in_a_graph(cupy):
    """Compared with train_step on NumPy. A new value of free_bits during a run needs a new graph,
    because it is an argument of the kernels."""
    model = build(dtype="float64", free_bits=0.01)
    optimizer = SGD(model, lr=0.1)
    stepper = GPUStepper(model, optimizer)
    stepper.seed = 5
    with sv.using("numpy"):
        other = build(dtype="float64", free_bits=0.01)
        other_optimizer = SGD(other, lr=0.1)
    total = 0.0
    for k in range(6):
        if k == 3:
            model.free_bits = other.free_bits = 0.003
        x, eps = images(model, 3, k), np.empty((3, *model.latent_shape))
        stepper.step(x)
        fill_normal(eps, 5, k)
        total += train_step(other, other_optimizer, x.get(), eps).total
    assert len(stepper._device.graphs) == 2
    assert_allclose(losses(stepper).total, total / 6, rtol=1e-12)
    assert_allclose(model.flat_value.get(), other.flat_value, rtol=1e-9, atol=1e-12)


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
    """Optimizer settings, replaced arrays, a mode: compared with steps without graphs."""
    states = []
    for graph in (True, False):
        model = build("mlp", dtype="float64")
        optimizer = AdamW(model)
        stepper, x = GPUStepper(model, optimizer, graph=graph), images(model, 2)

        def three(stepper=stepper, x=x):
            for _ in range(3):
                stepper.step(x)

        three()
        optimizer.weight_decay = 0.5
        three()
        optimizer.m = cupy.zeros_like(optimizer.m)
        three()
        optimizer.betas = (0.5, 0.9)
        three()
        model.free_bits = 0.01
        three()
        model.to("cpu").to("cuda")
        three()
        stepper.seed = 2**40
        three()
        assert len(stepper._device.graphs) == graph  # earlier graphs wrote to other arrays
        states.append(model.state_dict())
    for name, a in states[0].items():
        assert_array_equal(a, states[1][name])


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


def test_a_constant_of_a_layer_may_change(cupy):
    """A capture fixes it; the next step is captured again."""
    SMALL["celeba"] = (3, 32, 32)
    states = []
    for graph in (True, False):
        model = build("celeba")
        stepper, x = GPUStepper(model, SGD(model), graph=graph), images(model, 2)
        for momentum in (0.1, 0.9):
            for module in model.modules():
                if isinstance(module, BatchNorm2d):
                    module.momentum = momentum
            for _ in range(3):
                stepper.step(x)
        states.append(model.state_dict())
    for name, a in states[0].items():
        assert_array_equal(a, states[1][name])


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
