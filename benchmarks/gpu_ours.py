"""scratchvae's side of a pair on the GPU. Like ours.py for the CPU, it does not import PyTorch."""

from __future__ import annotations

import gc
import importlib
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import cupy
import numpy as np
import ours
from jobs import Job, Subject
from measure import RUNS, queued

import scratchvae as sv
from scratchvae.gpu.graph import GPUStepper
from scratchvae.gpu.philox import fill_normal

blas: Any = importlib.import_module("scratchvae.kernels.cuda.blas")
SIZE = 4096  # rows and columns of the matrices whose product is the peak
COPIED = 1 << 28  # floats: 1 GiB, many times the cache
SMI = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem")


def facts() -> dict[str, Any]:
    """Facts about GPU and machine. Call it right after work: an idle GPU lowers its clocks."""
    runtime = cupy.cuda.runtime
    found = {"GPU": runtime.getDeviceProperties(0)["name"].decode()}
    found["CUDA"] = f"{runtime.runtimeGetVersion() / 1000:.1f}"
    command = ["nvidia-smi", f"--query-gpu={','.join(SMI)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return found | ours.facts()
    values = done.stdout.strip().split(", ")
    return found | dict(zip(SMI, values, strict=False)) | ours.facts()


def peaks() -> dict[str, float]:
    """GFLOP/s of cuBLAS in float32 and with TF32; GB/s of a copy, bytes read and bytes written."""
    stream = cupy.cuda.get_current_stream()
    a, b = cupy.empty((SIZE, SIZE), "float32"), cupy.empty((SIZE, SIZE), "float32")
    source, target = cupy.empty(COPIED, "float32"), cupy.empty(COPIED, "float32")
    for i, array in enumerate((a, b, source)):
        fill_normal(array, 0, i)

    def copy() -> None:
        target[...] = source

    def rate(work: float, run: Callable[[], Any]) -> float:
        return 1e-6 * work / float(np.median([timed(run, stream, 10) for _ in range(5)]))

    found = {"copy": rate(2 * source.nbytes, copy)}
    for name, tf32 in (("sgemm", False), ("sgemm TF32", True)):
        with sv.using("cuda", tf32=tf32):
            found[name] = rate(2 * SIZE**3, lambda: blas.matmul(a, b))
    return found


def timed(run: Callable[[], Any], stream: Any, count: int) -> float:
    """Milliseconds of one of `count` runs, taken by CUDA events on the stream."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    records = partial(start.record, stream), partial(end.record, stream)
    queued(run, count, *records, stream.synchronize)
    return cupy.cuda.get_elapsed_time(start, end) / count


def prepare(job: Job) -> Subject:
    """Make both runs and return what PyTorch needs. The losses and gradients of the first step are
    computed without TF32."""
    forget()
    sv.use("cuda")
    _, subject = ours.first_step(job)
    sv.use("cuda", tf32=job.tf32)
    kind, options = job.optimizer
    for name, graph in (("ours eager", False), ("ours graph", True)):
        model = ours.build(job)
        optimizer = getattr(sv.optim, kind)(model, **options)
        RUNS[name] = partial(GPUStepper(model, optimizer, graph=graph).step, sv.asarray(subject.x))
    return subject


def stepper_of(name: str) -> GPUStepper:
    """The stepper of this run."""
    run: Any = RUNS[name]
    return run.func.__self__


def times(name: str, count: int) -> list[float]:
    """[mean of the milliseconds of `count` steps]."""
    return [timed(RUNS[name], stepper_of(name).stream, count)]


def is_finite(name: str) -> bool:
    """Whether all losses so far were finite."""
    try:
        return bool(np.isfinite(stepper_of(name).sums).all())
    except FloatingPointError:
        return False


def forget() -> None:
    """Free the prepared runs."""
    RUNS.clear()
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
