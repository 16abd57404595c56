"""PyTorch's side of a pair: a separate process (see measure.py) that does not import scratchvae.

    eager       step by step, in both memory formats, with torch.optim's default update and, where
                there is one, the fused update in one kernel
    graph       GPU: the whole step as one torch.cuda.CUDAGraph, in both formats, update fused
    compile     GPU: loss and gradients by torch.compile(mode="reduce-overhead"), update fused

Each of these is a separate run; the table shows the best one of each kind. On the GPU all of them
draw their noise within the step, as ours do. The images stay in place, while ours copies them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jobs import WARM_UP, Job, Subject, difference
from measure import RUNS, queued
from measure import times as times_on_cpu
from their_models import build, losses

FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Run = Callable[[], Any]
JOB: list[Job] = []  # the job that is prepared


def facts() -> dict[str, str]:
    gpu = DEVICE == "cuda"
    return {
        "torch": torch.__version__,
        "torch threads": str(torch.get_num_threads()),
        "GPU of torch": torch.cuda.get_device_name(0) if gpu else "",
        "CUDA of torch": str(torch.version.cuda) if gpu else "",
        "cuDNN": str(torch.backends.cudnn.version()) if gpu else "",
    }


def allow_tf32(allowed: bool) -> None:
    """Allow TF32 in products and convolutions, which have separate switches. These are the older
    switches: PyTorch 2.11's compiler reads no others and rejects a mixture with newer ones."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def names(job: Job, compiled: bool = False) -> list[str]:
    """The names of the runs. A model without convolutions has only one memory format."""
    convolves = any(weight.ndim == 4 for weight in build(job.model, None).parameters())
    formats = list(FORMATS) if convolves else ["NCHW"]
    found = [f"eager {name}{update}" for update in ("", " fused") for name in formats]
    if job.gpu:
        found += [*(f"graph {name}" for name in formats), *["compile NCHW"] * compiled]
    return found


def start(job: Job) -> None:
    """Set the job for the runs that are prepared next."""
    JOB[:] = [job]
    if job.gpu:
        torch.compiler.reset()
        gc.collect()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
        torch.backends.cudnn.benchmark = True
        allow_tf32(job.tf32)


def prepare(name: str, job: Job, subject: Subject) -> list[float] | str:
    """Make RUNS[name] and warm it up. Return the differences of the first losses and gradients from
    ours, without TF32; or, on the GPU, the reason why the run failed."""
    try:
        return _prepare(name, job, subject)
    except Exception as error:
        if not job.gpu:
            raise
        # A compiler can fail in many ways: measure the other runs all the same.
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    finally:
        allow_tf32(job.tf32)


def _prepare(name: str, job: Job, subject: Subject) -> list[float]:
    kind, memory_format, *fused = name.split()
    device = DEVICE if job.gpu else "cpu"
    model = build(job.model, job.image_size).to(device)
    model.load_state_dict({key: torch.tensor(a) for key, a in subject.weights.items()})
    model.to(memory_format=FORMATS[memory_format])
    x, eps = (tensor(a, memory_format).to(device) for a in (subject.x, subject.eps))
    errors = _compare(model, x, eps, subject) if subject.gradient else []
    RUNS[name] = _training(model, job, kind, bool(fused), x, eps)
    return errors


def tensor(a: np.ndarray, memory_format: str) -> torch.Tensor:
    """A copy; images get this memory format."""
    copy = torch.tensor(a)
    return copy.to(memory_format=FORMATS[memory_format]) if a.ndim == 4 else copy


def _compare(model: Any, x: Any, eps: Any, subject: Subject) -> list[float]:
    """The differences of losses and gradients from ours, without TF32."""
    tf32 = torch.backends.cudnn.allow_tf32
    allow_tf32(False)
    parts = losses(model, x, eps)
    parts[0].backward()
    allow_tf32(tf32)
    parameters = dict(model.named_parameters())
    pairs = [(a, parameters[name].grad.cpu().numpy()) for name, a in subject.gradient.items()]
    ours, theirs = (np.concatenate([a.ravel() for a in row]) for row in zip(*pairs, strict=True))
    return [difference(subject.losses, [part.item() for part in parts]), difference(ours, theirs)]


def _training(model: Any, job: Job, kind: str, fused: bool, x: Any, eps: Any) -> Run:
    """A training step, warmed up."""
    optimizer_kind, options = job.optimizer
    more = {"fused": True} if fused or kind != "eager" else {}
    more |= {"capturable": True} if kind == "graph" else {}
    optimizer = getattr(torch.optim, optimizer_kind)(model.parameters(), **options, **more)

    def call(x: Any, eps: Any) -> Any:
        return losses(model, x, eps)

    if kind == "compile":
        call = torch.compile(call, mode="reduce-overhead", dynamic=False)

    def step() -> Any:
        if kind == "compile":
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad()  # sets gradients to None, so that backward writes instead of adding
        if job.gpu:
            eps.normal_()
        parts = call(x, eps)
        parts[0].backward()
        optimizer.step()
        return [part.detach() for part in parts]

    if kind == "graph":
        return _captured(step, optimizer)
    for _ in range(WARM_UP):
        step()
    return step


def _captured(step: Run, optimizer: Any) -> Run:
    """Capture the step as PyTorch's manual does: warm up on a side stream, with gradients None, so
    that backward allocates them in the graph's own memory."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        parts = step()

    def replay(_held: Any = (step, optimizer)) -> Any:  # keeps the graph's memory alive
        graph.replay()
        return parts

    for _ in range(WARM_UP):
        replay()
    return replay


def times(name: str, count: int) -> list[float]:
    """Milliseconds of steps; on the GPU one number, the mean of `count` steps, by CUDA events."""
    if not JOB[0].gpu:
        return times_on_cpu(name, count)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    queued(RUNS[name], count, begin.record, end.record, torch.cuda.synchronize)
    return [begin.elapsed_time(end) / count]
