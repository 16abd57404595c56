"""scratchvae's side of a pair: a separate process (see measure.py) that does not import PyTorch."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
from flops import training_bytes, training_flop
from jobs import WARM_UP, Job, Subject
from measure import RUNS, forget

import scratchvae as sv
from scratchvae.runs.environment import machine_facts
from scratchvae.train import train_step

SIZE = 2048  # rows and columns of the matrices whose product is the peak
facts = machine_facts


def peaks() -> dict[str, float]:
    """GFLOP/s of `np.matmul` in float32, the best of five runs."""
    a, b = np.random.default_rng(0).standard_normal((2, SIZE, SIZE), "float32")
    c, seconds = np.empty_like(a), []
    for _ in range(5):
        start = time.perf_counter()
        np.matmul(a, b, out=c)
        seconds.append(time.perf_counter() - start)
    return {"sgemm": 2e-9 * SIZE**3 / min(seconds)}


def prepare(job: Job) -> Subject:
    """Make RUNS["ours"], one step of the job, warm it up, and return what PyTorch needs."""
    forget()
    sv.use("numba")
    model, subject = first_step(job)
    kind, options = job.optimizer
    optimizer = getattr(sv.optim, kind)(model, **options)
    RUNS["ours"] = partial(train_step, model, optimizer, subject.x, subject.eps)
    for _ in range(WARM_UP):
        RUNS["ours"]()
    return subject


def first_step(job: Job) -> tuple[sv.models.Model, Subject]:
    """The model on the current engine, and the data that both sides use, drawn with seed 0."""
    model, rng = build(job), np.random.default_rng(0)
    weights = model.state_dict()
    x = rng.uniform(*model.data_range, (job.batch_size, *model.image_shape)).astype("float32")
    eps = rng.standard_normal((job.batch_size, *model.latent_shape), "float32")
    losses = [float(part) for part in model.loss(sv.asarray(x), sv.asarray(eps))]
    model.backward()
    gradient = {name: np.array(sv.asnumpy(p.grad)) for name, p in model.parameters().items()}
    return model, Subject(weights, x, eps, np.array(losses), gradient, *_count(job))


def build(job: Job) -> sv.models.Model:
    model = sv.models.build(job.model)
    if job.image_size is None:
        return model
    size = (model.image_shape[0], job.image_size, job.image_size)
    return sv.models.build(job.model, image_shape=size)


def _count(job: Job) -> tuple[float, float]:
    """Operations and bytes of a step. They depend on shapes only, so one image is enough."""
    with sv.using("numpy"):
        model = build(job)
        x = np.full((1, *model.image_shape), np.mean(model.data_range), "float32")
        eps = np.zeros((1, *model.latent_shape), "float32")

        def run() -> None:
            model.forward(x, eps)

        with model.evaluating():  # batch norm cannot train on one image
            moved = training_bytes(model, run, job.batch_size)
            return job.batch_size * training_flop(model, run), moved
