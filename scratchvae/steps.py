"""Training steps on the GPU: a whole step as one CUDA graph, and nothing that waits for it.

Launching a kernel costs the host some microseconds, more than most kernels of a small model run. A
graph is a recording of all the launches of a step, started as one. It repeats itself exactly: same
kernels, same addresses, same numbers among the arguments. So whatever must move from step to step
lies in device memory, and the kernels read it there:

    x                    copied into the same place every time
    eps                  drawn by the graph itself, from the seed and the number of the step
    step, lr, beta       arrays of one; lr and beta are told anew when the host changes them
    losses               summed up on the device, fetched when somebody asks
    bad_step             the first step whose loss was not finite

Without a graph the same functions run one by one: the same numbers, slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from .backend import accelerated, array_module, is_gpu_array
from .models import Model
from .noise import fill_normal
from .ops import Losses
from .optim import Optimizer, clip_grad_norm

MOVING = ("steps", "lr", "kl_weight")  # of optimizer and model; arrays of one on the device


@accelerated
def record(total, reconstruction, kl, sums, bad_step, step, N):
    """Add the losses of a step of N images to `sums`, (4,) float64: total, reconstruction, kl,
    images; keep in `bad_step` the first step whose total was not finite, 0 if there was none."""
    sums[0] += total * N
    sums[1] += reconstruction * N
    sums[2] += kl * N
    sums[3] += N
    finite = array_module(total).isfinite(total)
    bad_step += (bad_step == 0) * (1 - finite) * step


class Captured(NamedTuple):
    """A graph, and what it reads and writes."""

    x: Any
    eps: Any
    graph: Any
    pool: Any

    def run(self, x: Any) -> None:
        """A step on the batch x."""
        self.x[...] = x
        self.graph.launch()


class Steps:
    """Training steps of a model on the GPU, a graph for each batch size.

    Parameters
    ----------
    model, optimizer
        The model on the GPU (`model.to("cuda")`), and an optimizer of it.
    seed : int
        Of the noise. A step's noise depends on the seed and on `optimizer.steps` alone.
    max_norm : float, optional
        Clip the gradients to this norm: see `optim.clip_grad_norm`.
    graph : bool
        Capture each step as a graph when its batch size first comes, after running it once; False
        runs all steps one kernel at a time.

    Notes
    -----
    lr and kl_weight may be changed at any time, also the weights in place; whoever changes another
    setting of model or optimizer makes new Steps.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        seed: int,
        max_norm: float | None = None,
        graph: bool = True,
    ) -> None:
        if optimizer.model is not model:
            raise ValueError("Steps: the optimizer was made for another model")
        if model.device != "cuda":
            raise ValueError("Steps: the model lives on the CPU; move it with model.to('cuda')")
        self._model, self._optimizer = model, optimizer
        self._seed, self._max_norm, self._use_graph = int(seed), max_norm, graph
        self._cupy = array_module(model.flat_value)
        zeros = self._cupy.zeros
        self._moving = {
            name: zeros((), "int64" if name == "steps" else "float64") for name in MOVING
        }
        self._told: dict[str, Any] = {}
        self._sums, self._bad_step = zeros(4, "float64"), zeros((), "int64")
        self.stream = self._cupy.cuda.Stream()  # waits for the null stream, and that for it
        self._captured: dict[tuple[Any, ...], Captured] = {}  # by shape, dtype and mode
        self._address = model.flat_value.data.ptr

    def __call__(self, x: Any) -> None:
        """Enqueue a step on the batch x, an array on the GPU; returns before it is done."""
        if not is_gpu_array(x):
            raise TypeError(f"Steps: x must be an array on the GPU, got {type(x).__name__}")
        if self._address != self._model.flat_value.data.ptr:  # the weights have moved
            self._captured, self._address = {}, self._model.flat_value.data.ptr
        self._tell()
        kind = x.shape, x.dtype, self._model.training
        try:
            with self.stream:
                if kind in self._captured:
                    self._captured[kind].run(x)
                elif self._use_graph:
                    self._captured[kind] = self._first(x)
                else:
                    self._run(x, self._cupy.empty((len(x), *self._model.latent_shape), x.dtype))
        except BaseException:
            self._told.clear()  # who knows what the device has counted
            raise
        self._optimizer.steps += 1
        self._told["steps"] += 1  # as the device did

    def losses(self) -> Losses:
        """Means over the images since the last call: floats. Waits for all steps enqueued.

        Raises
        ------
        FloatingPointError
            If a loss was NaN or infinite; names the first such step.
        """
        with self.stream:
            *sums, images, bad = (
                float(a) for a in self._cupy.concatenate([self._sums, self._bad_step[None]]).get()
            )
            self._sums[...] = 0
        if bad:
            raise FloatingPointError(
                f"the loss of step {int(bad)} was not finite: a smaller lr or clipping (max_norm) "
                "may help; pictures outside of the model's data_range do this, too"
            )
        if not images:
            raise ValueError("Steps.losses: no step since the last call")
        return Losses(*(total / images for total in sums))

    def _first(self, x: Any) -> Captured:
        """The first step of this batch size runs kernel by kernel, which compiles them and fills a
        pool with blocks of the right sizes. Capturing it again records, and runs nothing.

        The pool lives with its graph and serves nobody else: what is free in it now, the graph will
        write to.
        """
        pool = self._cupy.cuda.MemoryPool()
        with self._cupy.cuda.using_allocator(pool.malloc):
            static_x = x.copy()
            eps = self._cupy.empty((len(x), *self._model.latent_shape), x.dtype)
            self._run(static_x, eps)
            self.stream.begin_capture()
            try:
                self._run(static_x, eps)
            except BaseException:
                with suppress(Exception):  # of a capture that failed; the reason is the other one
                    self.stream.end_capture()
                raise
            return Captured(static_x, eps, self.stream.end_capture(), pool)

    def _run(self, x: Any, eps: Any) -> None:
        """The step: train.train_step, its noise before and its bookkeeping after."""
        model, optimizer = self._model, self._optimizer
        with self._on_device():
            fill_normal(eps, self._seed, optimizer.steps)
            optimizer.zero_grad()
            losses = model.loss(x, eps)
            model.backward()
            if self._max_norm is not None:
                clip_grad_norm(model, self._max_norm)
            optimizer.step()
            record(*losses, self._sums, self._bad_step, optimizer.steps, len(x))

    def _owner(self, name: str) -> Any:
        return self._model if name == "kl_weight" else self._optimizer

    def _tell(self) -> None:
        """Tell the device what has changed on the host."""
        for name, array in self._moving.items():
            value = getattr(self._owner(name), name, 0)
            if self._told.get(name) != value:
                with self.stream:
                    array.fill(value)
                self._told[name] = value

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Inside, the moving numbers of model and optimizer are arrays on the device."""
        names = [name for name in MOVING if hasattr(self._owner(name), name)]
        host = {name: getattr(self._owner(name), name) for name in names}
        try:
            for name in names:
                setattr(self._owner(name), name, self._moving[name])
            yield
        finally:
            for name, value in host.items():
                setattr(self._owner(name), name, value)

    def __reduce__(self) -> Any:
        """A copied or unpickled optimizer captures steps of its own."""
        return type(None), ()
