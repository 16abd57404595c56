"""Our side of gpu_step.py: a process of its own (see measure.py), which imports no PyTorch.

The functions of the first part are also what a GPU can do at all: a product of large matrices, a
copy, and what nvidia-smi says of its clocks meanwhile.
"""

from __future__ import annotations

import gc
import importlib
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import cupy
import numpy as np
from flops import training_bytes, training_flop
from jobs import FirstGradient, Job, Subject
from measure import in_turn

import scratchvae as sv
from scratchvae.gpu.graph import GPUStepper
from scratchvae.gpu.philox import fill_normal

blas: Any = importlib.import_module("scratchvae.kernels.cuda.blas")
RUNS = {"ours eager": False, "ours graph": True}  # name -> as a graph?
SIZE = 4096  # rows and columns of the matrices whose product is the peak
COPIED = 1 << 28  # floats: 1 GiB, many times the cache
SMI = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem")

# What is prepared: name -> (a step, and its stepper)
PREPARED: dict[str, tuple[Callable[[], Any], GPUStepper]] = {}


# --- The GPU -------------------------------------------------------------------------------------


def peaks() -> dict[str, float]:
    """GFLOP/s of cuBLAS in float32 and with TF32; GB/s of a copy, bytes read and bytes written."""
    stream = cupy.cuda.get_current_stream()
    a, b = cupy.empty((SIZE, SIZE), "float32"), cupy.empty((SIZE, SIZE), "float32")
    fill_normal(a, 0, 0)
    fill_normal(b, 0, 1)
    found = {}
    for name, tf32 in (("sgemm", False), ("sgemm TF32", True)):
        with sv.using("cuda", tf32=tf32):
            found[name] = 2e-6 * SIZE**3 / milliseconds(lambda: blas.matmul(a, b), stream)
    source, target = cupy.empty(COPIED, "float32"), cupy.empty(COPIED, "float32")
    fill_normal(source, 0, 2)

    def copy() -> None:
        target[...] = source

    found["copy"] = 2e-6 * source.nbytes / milliseconds(copy, stream)
    return found


def milliseconds(run: Callable[[], Any], stream: Any, turns: int = 5, count: int = 10) -> float:
    """The median turn's."""
    return float(np.median([timed(run, stream, count) for _ in range(turns)]))


def timed(run: Callable[[], Any], stream: Any, count: int) -> float:
    """Milliseconds of one of `count` runs, taken by CUDA events on the stream."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    record_start, record_end = (partial(event.record, stream) for event in (start, end))
    in_turn(run, count, record_start, record_end, stream.synchronize)
    return cupy.cuda.get_elapsed_time(start, end) / count


def gpu_facts() -> dict[str, str]:
    """To be asked for when the GPU has just worked: an idle one lowers its clocks."""
    runtime = cupy.cuda.runtime
    facts = {
        "GPU": runtime.getDeviceProperties(0)["name"].decode(),
        "CUDA of the driver": _version(runtime.driverGetVersion()),
        "CUDA": _version(runtime.runtimeGetVersion()),
        "CuPy": cupy.__version__,
    }
    command = ["nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return facts
    values = done.stdout.strip().split(", ")
    if done.returncode == 0 and len(values) == len(SMI):
        facts |= dict(zip(SMI, values, strict=True))
    return facts


def _version(number: int) -> str:
    """13000 is 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}"


# --- Steps ---------------------------------------------------------------------------------------


def prepare(job: Job, tf32: bool) -> tuple[Subject, FirstGradient, float]:
    """Make both runs. What PyTorch needs for its own, and the bytes of a step. The first losses and
    their gradient are computed without TF32."""
    forget()
    sv.use("cuda", tf32=False)
    model, rng = sv.models.build(job.model), np.random.default_rng(0)
    weights = model.state_dict()
    x = rng.uniform(*model.data_range, (job.batch_size, *model.image_shape)).astype("float32")
    eps = rng.standard_normal((job.batch_size, *model.latent_shape), "float32")
    x_there = sv.asarray(x)
    losses = np.array([float(part) for part in model.loss(x_there, sv.asarray(eps))])
    model.backward()
    gradient, order = sv.asnumpy(model.flat_grad), list(model.parameters())
    flop, moved = _count(job)

    sv.use("cuda", tf32=tf32)
    kind, options = job.optimizer
    for name, graph in RUNS.items():
        model = sv.models.build(job.model)
        optimizer = getattr(sv.optim, kind)(model, **options)
        stepper = GPUStepper(model, optimizer, graph=graph)
        PREPARED[name] = partial(stepper.step, x_there), stepper
    return (
        Subject(weights, model.data_range, x, eps, losses, flop),
        FirstGradient(order, gradient),
        moved,
    )


def _count(job: Job) -> tuple[float, float]:
    """Operations and bytes of a step; from shapes alone, so on the CPU and for one image."""
    with sv.using("numpy"):
        model = sv.models.build(job.model)
        x = np.full((1, *model.image_shape), np.mean(model.data_range), "float32")
        eps = np.zeros((1, *model.latent_shape), "float32")

        def run() -> None:
            model.forward(x, eps)

        with model.evaluating():  # a batch norm cannot learn from one image
            moved = training_bytes(model, run, job.batch_size)
            return job.batch_size * training_flop(model, run), moved


def turn(name: str, count: int) -> float:
    """Milliseconds of one of `count` steps."""
    run, stepper = PREPARED[name]
    return timed(run, stepper.stream, count)


def loss(name: str) -> float:
    """The mean loss of its steps since the last call; not finite if one of them was not."""
    stepper = PREPARED[name][1]
    try:
        total, *_, images = stepper.sums
    except FloatingPointError:
        return float("nan")
    stepper.sums = [0.0] * 4
    return total / images


def forget() -> None:
    """Free what was prepared."""
    PREPARED.clear()
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
