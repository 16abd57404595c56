"""PyTorch's side of a pair: a process of its own (see measure.py), which imports nothing of ours.

PyTorch as it is by default, eager and with torch.optim's default update, and as its manual
recommends it to those in a hurry: images stored as NHWC (channels_last), an update in one kernel
(fused). Each of these is a run of its own; the reader gets the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jobs import LAYERS, WARM_UP, Job, Subject, difference
from measure import RUNS
from their_models import build, encode, generate, losses
from their_ops import OPS

FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
Run = Callable[[], Any]


def prepare(job: Job, subject: Subject, names: list[str] | None = None) -> dict[str, float]:
    """Make RUNS["NCHW"], RUNS["NCHW fused"] and so on, or those named alone, and warm them up.
    Returns how far the first result of each is from ours."""
    RUNS.clear()
    make, errors = _layers if job.model == LAYERS else _model, {}
    for name in names or _names(job, subject):
        RUNS[name] = run = make(job, subject, name)
        first, *_ = [np.array(run()) for _ in range(WARM_UP)]
        errors[name] = difference(subject.result, first)
    return errors


def forget() -> None:
    """Free what was prepared."""
    RUNS.clear()


def _names(job: Job, subject: Subject) -> list[str]:
    """Without a convolution there is one memory format, and without an update one way to do it."""
    convolves = any(weight.ndim == 4 for weight in subject.weights.values())
    formats = list(FORMATS) if convolves else ["NCHW"]
    trains = job.what == "train" and job.model != LAYERS
    return formats + [f"{name} fused" for name in formats if trains]


def _tensor(a: np.ndarray, name: str) -> torch.Tensor:
    """A copy, in the memory format of the run of this name if it has one."""
    memory_format = FORMATS[name.partition(" ")[0]] if a.ndim == 4 else torch.contiguous_format
    return torch.tensor(a).to(memory_format=memory_format)


# --- Models --------------------------------------------------------------------------------------


def _model(job: Job, subject: Subject, name: str) -> Run:
    model = build(job.model, job.image_size)
    model.load_state_dict({key: torch.tensor(a) for key, a in subject.weights.items()})
    model.to(memory_format=FORMATS[name.partition(" ")[0]])
    x, eps = _tensor(subject.x, name), torch.tensor(subject.eps)
    if job.what == "train":
        kind, options = job.optimizer
        fused = {"fused": True} if name.endswith("fused") else {}
        optimizer = getattr(torch.optim, kind)(model.parameters(), **options, **fused)
        return lambda: _train_step(model, optimizer, x, eps)
    model.train(job.what == "forward")
    steps: dict[str, Run] = {
        "forward": lambda: losses(model, x, eps),
        "sample": lambda: generate(model, eps),
        "encode": lambda: encode(model, x),
        "evaluate": lambda: _evaluate(model, x, eps, subject.data_range),
    }
    return torch.inference_mode()(steps[job.what])


def _train_step(model: Any, optimizer: Any, x: Any, eps: Any) -> Any:
    optimizer.zero_grad()
    parts = losses(model, x, eps)
    parts[0].backward()
    optimizer.step()
    return [part.detach() for part in parts]


def _evaluate(model: Any, images: Any, eps: Any, data_range: tuple[float, float]) -> np.ndarray:
    """The losses per image. The noise is NumPy's, as ours is, so that both get the same; drawing it
    is a hundredth of the work or less."""
    rng, (low, high), sums = np.random.default_rng(1), data_range, np.zeros(3)
    for batch in images.split(len(eps)):
        x = batch.float().div_(255).mul_(high - low).add_(low)
        noise = torch.from_numpy(rng.standard_normal((len(x), *eps.shape[1:]), "float32"))
        sums += [len(x) * part.item() for part in losses(model, x, noise)]
    return sums / len(images)


def _layers(job: Job, subject: Subject, name: str) -> Run:
    """A convolution and a ReLU, forward and backward."""
    channels = len(subject.weights["bias"])
    conv = torch.nn.Conv2d(channels, channels, 3, padding=1)
    conv.load_state_dict({key: torch.tensor(a) for key, a in subject.weights.items()})
    conv.to(memory_format=FORMATS[name])
    x, dy = _tensor(subject.x, name).requires_grad_(), _tensor(subject.eps, name)

    def run() -> Any:
        y = F.relu(conv(x))
        torch.autograd.grad(y, [x, conv.weight, conv.bias], dy)
        return y.detach()

    return run


# --- Ops -----------------------------------------------------------------------------------------


def prepare_op(
    op: str, arrays: dict[str, np.ndarray], options: dict[str, Any], y: np.ndarray, dy: np.ndarray
) -> float:
    """Make RUNS["NCHW forward"] and so on. Backward is autograd's alone: its graph is kept. Returns
    how far the largest result is from y."""
    RUNS.clear()
    convolves = next(iter(arrays.values())).ndim == 4
    errors = []
    for name in FORMATS if convolves else ["NCHW"]:
        tensors = {key: _tensor(a, name) for key, a in arrays.items()}
        moving = [
            tensor.requires_grad_()
            for key, tensor in tensors.items()
            if key not in ("target", "eps", "running_mean", "running_var")
        ]
        errors.append(difference(y, OPS[op](*tensors.values(), **options).detach()))
        RUNS[f"{name} forward"] = forward = _forward(op, tensors, options)
        RUNS[f"{name} backward"] = backward = _backward(forward(), moving, _tensor(dy, name))
        backward()
    return max(errors)


def _forward(op: str, tensors: dict[str, Any], options: dict[str, Any]) -> Run:
    return lambda: OPS[op](*tensors.values(), **options)


def _backward(y: Any, moving: list[Any], dy: Any) -> Run:
    return lambda: torch.autograd.grad(y, moving, dy.to(y.dtype), retain_graph=True)


def prepare_adam(size: int) -> None:
    """RUNS["NCHW step"] and RUNS["fused step"]: the update of so many parameters in one tensor."""
    RUNS.clear()
    for name, options in (("NCHW", {}), ("fused", {"fused": True})):
        weight = torch.nn.Parameter(torch.randn(size))
        weight.grad = torch.randn(size)
        RUNS[f"{name} step"] = step = torch.optim.Adam([weight], **options).step
        step()


def prepared() -> list[str]:
    return list(RUNS)
