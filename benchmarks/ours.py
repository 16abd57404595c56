"""Our side of a pair: a process of its own (see measure.py), which imports no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from flops import forward_flop, training_flop
from jobs import LAYERS, MAP, WARM_UP, Job, Subject
from measure import RUNS

import scratchvae as sv
from scratchvae.backend import find_kernel
from scratchvae.optim import adam_step
from scratchvae.train import evaluate_sampled, train_step


def prepare(job: Job) -> Subject:
    """Make RUNS["ours"], one step of the job, warm it up, and hand out what PyTorch needs for its
    own."""
    RUNS.clear()
    sv.use("numba")
    return _layers(job) if job.model == LAYERS else _model(job)


def forget() -> None:
    """Free what was prepared."""
    RUNS.clear()


# --- Models --------------------------------------------------------------------------------------


def _model(job: Job) -> Subject:
    model, rng = _build(job), np.random.default_rng(0)
    weights = model.state_dict()
    x = rng.uniform(*model.data_range, (job.batch_size, *model.image_shape)).astype("float32")
    if job.what == "evaluate":
        x = rng.integers(0, 256, (job.images, *model.image_shape), "uint8")
    eps = sv.asnumpy(model.noise(job.batch_size, rng))
    flop = job.images * _flop(model, job.what)
    RUNS["ours"] = run = _step(model, job, x, eps)
    first, *_ = [np.array(run()) for _ in range(WARM_UP)]
    return Subject(weights, model.data_range, x, eps, first, flop)


def _build(job: Job) -> sv.models.Model:
    if job.image_size is None:
        return sv.models.build(job.model)
    channels = sv.models.build(job.model).image_shape[0]
    return sv.models.build(job.model, image_shape=(channels, job.image_size, job.image_size))


def _step(model: sv.models.Model, job: Job, x: np.ndarray, eps: np.ndarray) -> Callable[[], Any]:
    if job.what == "train":
        name, options = job.optimizer
        return partial(train_step, model, getattr(sv.optim, name)(model, **options), x, eps)
    steps: dict[str, Callable[[], Any]] = {
        "forward": lambda: model.loss(x, eps, keep=False),
        "sample": lambda: model.generate(eps),
        "encode": lambda: model.embed(x),
        "evaluate": lambda: evaluate_sampled(model, x, np.random.default_rng(1), job.batch_size),
    }
    return steps[job.what]


def _flop(model: sv.models.Model, what: str) -> float:
    """Of a step, per image."""
    x = np.full((1, *model.image_shape), np.mean(model.data_range), "float32")
    eps = model.noise(1, np.random.default_rng(0))
    if what == "sample":
        return forward_flop(model, lambda: model.generate(eps))
    if what == "encode":
        return forward_flop(model, lambda: model.embed(x))
    with model.evaluating():  # a batch norm cannot learn from one image
        count = training_flop if what == "train" else forward_flop
        return count(model, lambda: model.forward(x, eps))


def _layers(job: Job) -> Subject:
    """A convolution, 3 x 3 with padding 1, and a ReLU: forward and backward, dx too."""
    rng, channels = np.random.default_rng(0), job.channels or 8
    conv, relu = sv.layers.Conv2d(channels, channels, 3, padding=1, rng=rng), sv.layers.ReLU()
    x, dy = rng.standard_normal((2, job.batch_size, channels, MAP, MAP), "float32")

    def run() -> Any:
        y = relu.forward(conv.forward(x))
        conv.backward(relu.backward(dy))
        return y

    RUNS["ours"] = run
    first, *_ = [run() for _ in range(WARM_UP)]
    weights = {name: parameter.value for name, parameter in conv.parameters().items()}
    flop = 3 * 2.0 * x.size * conv.weight.value[0].size
    return Subject(weights, (0, 1), x, dy, first, flop)


# --- Ops -----------------------------------------------------------------------------------------


def prepare_op(
    op: str, shapes: dict[str, tuple[int, ...]], options: dict[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Make RUNS["reference forward"], RUNS["numba forward"] and so on; numba only where there is a
    kernel, and for images a second time with their channels last in memory, as most layers leave
    them. The arrays, the result, and the gradient that backward starts from."""
    RUNS.clear()
    rng = np.random.default_rng(0)
    arrays = {name: _draw(rng, name, shape) for name, shape in shapes.items()}
    sv.use("numpy")
    y = np.array(getattr(sv.ops, f"{op}_forward")(*arrays.values(), **options)[0])
    # elbo gives three losses, of which the first, the total, is differentiated
    dy = np.eye(3)[0] if op == "elbo" else rng.standard_normal(y.shape, "float32")
    given = list(arrays.values())
    last = [a if name == "w" else _channels_last(a) for name, a in arrays.items()]
    runs = [
        ("numpy", "reference", given, dy),
        ("numba", "numba", given, dy),
        ("numba", "numba_last", last, _channels_last(dy)),
    ]
    for engine, column, x, gradient in runs:
        for part in ("forward", "backward"):
            if engine == "numpy" or find_kernel("numba", op, f"{op}_{part}"):
                RUNS[f"{column} {part}"] = _within(engine, _pass(op, part, x, options, gradient))
    return arrays, y, dy


def prepare_adam(size: int) -> None:
    """RUNS["reference step"] and RUNS["numba step"]: Adam's update of so many parameters."""
    RUNS.clear()
    value, grad, m, v = np.random.default_rng(0).standard_normal((4, size), "float32")
    step = partial(adam_step, value, grad, m, v**2, 1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)
    for engine, column in (("numpy", "reference"), ("numba", "numba")):
        RUNS[f"{column} step"] = _within(engine, lambda: step)


def prepared() -> list[str]:
    return list(RUNS)


def _channels_last(a: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) in that order in memory; what is no image, as it is."""
    if a.ndim != 4:
        return a
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name in ("target", "running_var"):
        return rng.random(shape, "float32") + np.float32(name == "running_var")
    return rng.standard_normal(shape, "float32")


def _pass(
    op: str, part: str, given: list[np.ndarray], options: dict[str, Any], dy: np.ndarray
) -> Callable[[], Callable[[], Any]]:
    """Under the engine in use: a call of the op's forward, or of its backward alone."""

    def make() -> Callable[[], Any]:
        forward, backward = getattr(sv.ops, f"{op}_forward"), getattr(sv.ops, f"{op}_backward")
        if part == "forward":
            return lambda: forward(*given, **options)
        cache = forward(*given, **options)[1]
        return lambda: backward(float(dy[0]) if op == "elbo" else dy, cache)

    return make


def _within(engine: str, make: Callable[[], Callable[[], Any]]) -> Callable[[], Any]:
    """What `make` makes, on this engine, warmed up."""
    with sv.using(engine):
        run = make()
        run()

    def timed() -> None:
        with sv.using(engine):
            run()

    return timed
