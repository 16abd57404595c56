"""PyTorch's side of gpu_step.py: a process of its own (see measure.py), which runs nothing of
ours.

    eager       step by step, in both memory formats, with torch.optim's default update and the
                fused one
    graph       the whole step as one torch.cuda.CUDAGraph, in both formats, with the fused update
    compile     loss and gradients by torch.compile(mode="reduce-overhead"), the update fused

All draw their noise in the step. The images lie where they always lie: no copy, which ours makes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jobs import FirstGradient, Job, Subject, difference
from measure import in_turn
from their_models import build, losses
from theirs import FORMATS

WARM_UP = 5  # steps: cuDNN tries its algorithms, torch.compile compiles and records
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # the CPU is for tests

Step = Callable[[], Any]  # returns the total loss, on the device
PREPARED: dict[str, Step] = {}


def facts() -> dict[str, str]:
    """Without "GPU" where PyTorch sees none."""
    found = {
        "torch": torch.__version__,
        "CUDA of torch": str(torch.version.cuda),
        "cuDNN": str(torch.backends.cudnn.version()),
    }
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name(0)
    return found


def allow_tf32(allowed: bool) -> None:
    """In products and convolutions, which PyTorch switches apart. These are the older two switches:
    PyTorch 2.11's compiler reads no others, and refuses a mixture with the newer ones."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def names(job: Job, compiled: bool) -> list[str]:
    """Without a convolution there is one memory format."""
    model = build(job.model, None)
    convolves = any(weight.ndim == 4 for weight in model.parameters())
    formats = list(FORMATS) if convolves else ["NCHW"]
    eager = [f"eager {name}{update}" for update in ("", " fused") for name in formats]
    return [*eager, *(f"graph {name}" for name in formats), *["compile NCHW"] * compiled]


def start(tf32: bool) -> None:
    """Forget what was prepared; what comes next is prepared with this setting."""
    PREPARED.clear()
    torch.compiler.reset()
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
    torch.backends.cudnn.benchmark = True
    allow_tf32(tf32)


def prepare(
    name: str, job: Job, subject: Subject, gradient: FirstGradient
) -> tuple[float, float] | str:
    """Make PREPARED[name] and warm it up. How far first losses and gradient are from ours, without
    TF32; or why there is no such run."""
    tf32 = torch.backends.cudnn.allow_tf32
    try:
        found, PREPARED[name] = _prepare(name, job, subject, gradient, tf32)
    except Exception as error:  # a compiler has many ways to fail: the other runs go on
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    finally:
        allow_tf32(tf32)
    return found


def _prepare(
    name: str, job: Job, subject: Subject, gradient: FirstGradient, tf32: bool
) -> tuple[tuple[float, float], Step]:
    kind, memory_format, *_ = name.split()
    model = build(job.model, None).to(DEVICE)
    model.load_state_dict({key: torch.tensor(a) for key, a in subject.weights.items()})
    model.to(memory_format=FORMATS[memory_format])
    x = torch.tensor(subject.x, device=DEVICE).to(memory_format=FORMATS[memory_format])
    eps = torch.tensor(subject.eps, device=DEVICE)

    def of_model(x: Any, eps: Any) -> Any:
        return losses(model, x, eps)

    allow_tf32(False)
    found = _compare(model, of_model(x, eps), subject.result, gradient)
    allow_tf32(tf32)
    call = of_model
    if kind == "compile":
        call = torch.compile(of_model, mode="reduce-overhead", dynamic=False)
    options: dict[str, Any] = dict(job.optimizer[1])
    if kind != "eager" or name.endswith("fused"):
        options["fused"] = True
    if kind == "graph":
        options["capturable"] = True
    optimizer = getattr(torch.optim, job.optimizer[0])(model.parameters(), **options)

    def step() -> Any:
        if kind == "compile":
            torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad()  # to None: backward writes, and need not add
        eps.normal_()
        total = call(x, eps)[0]
        total.backward()
        optimizer.step()
        return total.detach()

    if kind == "graph":
        return found, _captured(step, optimizer)
    for _ in range(WARM_UP):
        step()
    return found, step


def _compare(
    model: Any, parts: Any, result: np.ndarray, gradient: FirstGradient
) -> tuple[float, float]:
    """Relative differences of losses and gradient."""
    parts[0].backward()
    parameters = dict(model.named_parameters())
    row = torch.cat([parameters[key].grad.reshape(-1) for key in gradient.order]).cpu()
    model.zero_grad()
    loss_error = difference(result, [part.item() for part in parts])
    return loss_error, difference(gradient.row, row.numpy())


def _captured(step: Step, optimizer: Any) -> Step:
    """The step as PyTorch's manual captures a whole one: warmed up on a side stream, gradients
    None, so that backward makes them in the graph's own memory."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        total = step()

    def replay(_held: Any = (step, optimizer)) -> Any:  # their memory is what the graph works on
        graph.replay()
        return total

    for _ in range(WARM_UP):
        replay()
    return replay


def turn(name: str, count: int) -> float:
    """Milliseconds of one of `count` steps, taken by CUDA events."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    in_turn(PREPARED[name], count, begin.record, end.record, torch.cuda.synchronize)
    return begin.elapsed_time(end) / count


def loss(name: str) -> float:
    """Of one more step."""
    return float(PREPARED[name]().item())
