"""The engine cuda as a whole: moving models, batches, limits and the TF32 switch."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from on_host import cublas

import scratchvae as sv
from scratchvae.gpu import graph
from scratchvae.gpu.graph import GPUStepper
from scratchvae.gpu.prefetch import prefetch
from scratchvae.kernels import cuda
from scratchvae.kernels.cuda import LIMIT, contiguous, source
from scratchvae.models.weights import load_weights, save_weights
from scratchvae.optim import SGD, Adam
from scratchvae.train import (
    evaluate_deterministic,
    evaluate_sampled,
    streams,
    train_epoch,
    train_step,
)


def build(**options):
    return sv.models.build("mlp", image_shape=(1, 4, 4), **options)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (25, 4, 4), dtype=np.uint8)


@pytest.fixture
def cupy(cupy_on_host):
    with sv.using("cuda"):
        yield cupy_on_host


# ---------------------------------------------------------------------- moving


@pytest.mark.parametrize("make", [Adam, lambda model: SGD(model, momentum=0.9)])
def test_models_and_optimizers_move_there_and_back(cupy_on_host, make):
    """Three steps, one of them on the GPU, give the same result as three steps on the CPU."""
    results = []
    for devices in (["cpu", "cpu", "cpu"], ["cpu", "cuda", "cpu"]):
        model = build(dtype="float64")
        optimizer = make(model)
        rng = np.random.default_rng(0)
        for device in devices:
            assert model.to(device).device == device
            x, eps = rng.random((3, 1, 4, 4)), rng.standard_normal((3, *model.latent_shape))
            x, eps = (sv.backend.to_device(a, device) for a in (x, eps))
            train_step(model, optimizer, x, eps)
        results.append(model.flat_value)
    assert_allclose(results[1], results[0], rtol=1e-10, atol=1e-14)


def test_gradients_and_batch_statistics_move_along(cupy_on_host):
    model = sv.models.build("celeba", image_shape=(3, 32, 32))
    state, model.flat_grad = model.state_dict(), np.arange(model.flat_grad.size)
    model.to("cuda")
    assert all(
        sv.backend.is_gpu_array(getattr(module, name))
        for module in model.modules()
        for name in module.buffers
    )
    for name, a in model.state_dict().items():
        assert_array_equal(a, state[name])
    assert_array_equal(model.flat_grad.get(), np.arange(model.flat_grad.size, dtype="float32"))


def test_checkpoints_go_from_one_device_to_the_other(cupy_on_host, tmp_path):
    one, other = build(seed=0).to("cuda"), build(seed=1)
    save_weights(one, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    assert_array_equal(other.flat_value, one.flat_value.get())
    third = build(seed=2).to("cuda")
    load_weights(third, tmp_path / "weights.safetensors")
    assert third.device == "cuda"
    assert_array_equal(third.flat_value.get(), other.flat_value)


def test_a_numpy_array_may_be_assigned_to_a_parameter_on_the_gpu(cupy):
    model = build()
    model.fc1.weight.value = np.full(model.fc1.weight.value.shape, 2.0, "float32")
    assert (model.fc1.weight.value.get() == 2).all()


def test_to_says_what_it_takes(monkeypatch):
    model = build()
    with pytest.raises(ValueError, match=r"MLP.to: expected 'cuda', 'cpu' or one of .* got 'gpu'"):
        model.to("gpu")
    with pytest.raises(ValueError, match="got 'int32'"):
        model.to("int32")
    monkeypatch.setattr(sv.models.base, "gpu_problem", lambda: "there is none")
    with pytest.raises(RuntimeError, match=r"MLP.to\('cuda'\): there is none"):
        model.to("cuda")


# ---------------------------------------------------------------------- batches


def test_batches_arrive_whole_and_in_order(cupy):
    rng = np.random.default_rng(0)
    batches = [rng.random((n, 2)) for n in (4, 4, 4, 4, 3)]
    stream = cupy.cuda.Stream()
    arrived = [x.copy().get() for x in prefetch(batches, stream)]
    for ours, theirs in zip(arrived, batches, strict=True):
        assert_array_equal(ours, theirs)


def test_the_batch_in_use_is_not_overwritten_by_the_next(cupy):
    """Two slots: while one is read, the other is filled."""
    batches = [np.full((2, 2), float(k)) for k in range(5)]
    before = None
    for k, x in enumerate(prefetch(batches, cupy.cuda.Stream())):
        assert (x.get() == k).all()
        if before is not None:
            assert (before.get() == k - 1).all()
        before = x


def test_the_order_of_copies_and_steps_is_told_to_the_gpu(cupy, monkeypatch):
    """Checks only the order of the calls, because here they run one after the other: the copy waits
    until the step before last has read the slot, and the step waits for the copy."""
    log = []
    Event, Stream = cupy.cuda.Event, cupy.cuda.Stream
    numbers = {}

    def number(thing):
        return numbers.setdefault(id(thing), len(numbers))

    monkeypatch.setattr(Event, "record", lambda e, s=None: log.append(("record", number(e), s)))
    monkeypatch.setattr(Event, "synchronize", lambda e: log.append(("host waits", number(e))))
    monkeypatch.setattr(Stream, "wait_event", lambda s, e: log.append(("wait", number(e), s)))
    steps = Stream()
    for _ in prefetch([np.zeros(2)] * 3, steps):
        log.append("step")
    streams = [entry[2] for entry in log if entry[0] == "wait"]
    assert streams[0] is not steps and streams[1] is steps
    log = [entry for entry in log if entry[0] != "record" or entry[2] is not None]
    first = log[: log.index("step") + 2]
    (_, copied), (_, read, copying), _, (_, arrived, _), _, (_, done, reader) = first
    assert arrived == copied and done == read and reader is steps
    third = log[-6:]
    assert third[0] == ("host waits", copied)  # the first slot again
    assert third[1] == ("wait", read, copying)


def test_an_epoch_on_the_gpu(cupy, pictures):
    """Every image once, a smaller last batch; only batches go to the GPU, only losses come back."""
    model = build()
    optimizer = Adam(model, lr=1e-2)
    losses = []
    for epoch in range(4):
        shuffle, noise, *_ = streams(epoch)
        cupy.copies.clear()
        losses.append(train_epoch(model, optimizer, pictures, 8, shuffle, noise).total)
        assert cupy.copies == {"to device": 4, "to host": 1}
    assert losses[-1] < losses[1] < losses[0]
    assert optimizer.steps == 16
    graphs = graph._ON_DEVICE[optimizer].graphs
    assert [kind[0] for kind in graphs] == [(8, 1, 4, 4)]  # the last batch is one image


def test_an_interrupted_epoch_does_not_count_in_the_next(cupy, pictures):
    """With a learning rate of 0 every epoch of ae has the same mean loss."""
    model = sv.models.build("ae", image_shape=(1, 4, 4))
    optimizer = SGD(model, lr=0.0)
    means = [train_epoch(model, optimizer, pictures, 8, *streams(0)[:2]).total]
    GPUStepper(model, optimizer).step(cupy.zeros((8, 1, 4, 4), "float32"))  # and then Ctrl-C
    means.append(train_epoch(model, optimizer, pictures, 8, *streams(0)[:2]).total)
    assert_allclose(means[1], means[0], rtol=1e-6)


def test_losses_are_checked_now_and_then(cupy, pictures, monkeypatch):
    """A failing run stops long before the end of the epoch."""
    monkeypatch.setattr(graph, "CHECK_EVERY", 2)
    model = build()
    model.flat_value[3] = float("nan")
    optimizer = Adam(model)
    with pytest.raises(FloatingPointError, match="the loss of step 1 was not finite"):
        train_epoch(model, optimizer, pictures, 2, *streams(0)[:2])
    assert optimizer.steps == 2


def test_evaluation_is_that_of_numpy(cupy, pictures):
    """The host draws the same noise; no loss is read before all steps are enqueued."""
    model = build(dtype="float64")
    ours = (
        evaluate_sampled(model, pictures, np.random.default_rng(0), 10),
        evaluate_deterministic(model, pictures, 10),
    )
    with sv.using("numpy"):
        model.to("cpu")
        theirs = (
            evaluate_sampled(model, pictures, np.random.default_rng(0), 10),
            evaluate_deterministic(model, pictures, 10),
        )
    assert_allclose(ours, theirs, rtol=1e-12)


# ---------------------------------------------------------------------- limits


@pytest.fixture
def little_memory(cupy, monkeypatch):
    """A function that leaves only this many bytes of the device's memory free."""

    def leave(free):
        x = cupy.asarray(np.ones((2, 3), "float32"))
        for stream in (cupy.cuda.Stream.null, graph._stream(cupy)):
            with stream:
                sv.ops.linear_forward(x, x)  # cuBLAS has its workspaces
        cupy.get_default_memory_pool().free_all_blocks()
        taken = cupy.cuda.TOTAL - cupy.cuda.runtime.memGetInfo()[0]
        monkeypatch.setattr(cupy.cuda, "TOTAL", taken + free)

    return leave


def test_a_batch_that_is_too_large(cupy, little_memory):
    """The error says what did not fit, how much memory is free, and what to do. A smaller batch can
    be trained afterwards, even while the error object is still referenced."""
    many = np.zeros((4000, 4, 4), np.uint8)
    model = build()
    optimizer = Adam(model)
    little_memory(2**23)
    before = cupy.cuda.runtime.memGetInfo()[0]
    with pytest.raises(MemoryError) as error:
        train_epoch(model, optimizer, many, 4000, *streams(0)[:2])
    assert str(error.value) == (
        "training: a batch of 4,000 images does not fit into the GPU's memory "
        f"({before / 2**30:.2f} of {cupy.cuda.TOTAL / 2**30:.2f} GiB free): choose a smaller batch"
    )
    assert optimizer.steps == 0
    train_epoch(model, optimizer, many[:100], 50, *streams(0)[:2])
    assert optimizer.steps == 2
    with pytest.raises(MemoryError, match="evaluate: a batch of 4,000 images"):
        evaluate_deterministic(model, many, 4000)


def test_no_memory_at_all(little_memory, pictures):
    model = build()
    optimizer = Adam(model)
    little_memory(20_000)
    with pytest.raises(MemoryError, match="training: a batch of 8 images does not fit"):
        train_epoch(model, optimizer, pictures, 8, *streams(0)[:2])


def test_memory_errors_of_the_cpu_are_left_alone(monkeypatch, pictures):
    model = build()

    def loss(*_, **__):
        raise MemoryError("of NumPy")

    monkeypatch.setattr(model, "loss", loss)
    with pytest.raises(MemoryError, match="of NumPy"):
        evaluate_deterministic(model, pictures)


def test_arrays_whose_elements_an_int_cannot_count_are_refused(cupy):
    """As a view of a single number, because the machine may not have that much memory."""
    one = cupy.asarray(np.zeros((1, 1, 1, 1), "float32"))
    huge = cupy.broadcast_to(one, (2, 2**10, 2**10, 2**10))
    assert huge.size == 2**31 > LIMIT
    expected = r"has 2,147,483,648 elements; CUDA kernels count them in 32 bits .* smaller batch"
    with pytest.raises(ValueError, match=expected):
        sv.ops.relu_forward(huge)
    with pytest.raises(ValueError, match=expected):
        sv.ops.upsample_nearest_forward(cupy.broadcast_to(one, (2, 1, 2**10, 2**10)), 32)
    contiguous(one)


# ---------------------------------------------------------------------- the switch


def test_tf32_is_off_unless_asked_for(cupy):
    x = cupy.asarray(np.ones((2, 3), "float32"))
    sv.ops.linear_forward(x, x)
    assert cublas.last["math mode"] == 0 and not sv.backend.tf32_allowed()
    with sv.using("cuda", tf32=True):
        sv.ops.linear_forward(x, x)
        assert cublas.last["math mode"] == 3 and sv.backend.tf32_allowed()
    sv.ops.linear_forward(x, x)
    assert cublas.last["math mode"] == 0 and not sv.backend.tf32_allowed()


def test_cublas_works_on_memory_of_its_own(cupy):
    """Each stream has a workspace, set after the stream, because setting the stream resets it."""
    x = cupy.asarray(np.ones((2, 3), "float32"))
    workspaces = set()
    for stream in (cupy.cuda.Stream(), cupy.cuda.Stream()):
        for _ in range(2):
            with stream:
                sv.ops.linear_forward(x, x)
            assert cublas.last["stream"] == stream.ptr
            workspaces.add(cublas.last["workspace"])
    assert len(workspaces) == 2 and {size for _, size in workspaces} == {32 << 20}


def test_a_long_compilation_is_announced_once(monkeypatch, capsys):
    monkeypatch.setattr(cuda, "_seconds", 0.0)
    for said in (False, True, False):
        cuda._announce(0.6)
        assert ("compiling CUDA kernels, once" in capsys.readouterr().err) == said


def test_includes_are_pasted_once():
    text = source("convolution")
    assert "#include" not in text
    assert text.count("using T = REAL;") == 1
