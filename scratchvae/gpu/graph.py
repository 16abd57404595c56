"""Training steps on the GPU: a whole step as one CUDA graph, and nothing that waits for it.

Launching a kernel costs the host some microseconds, more than most kernels of a small model run. A
graph is a recording of all the launches of a step, started as one. It repeats itself exactly: same
kernels, same addresses, same numbers among the arguments. So whatever must move from step to step
lies in device memory, and the kernels read it there:

    x                    copied into the same place every time
    eps                  drawn by the graph itself, from the seed and the number of the step
    step, lr, beta       arrays of one, told anew when the host changes them
    losses               summed up on the device, fetched when somebody asks
    bad_step             the first step whose loss was not finite

Without a graph the same functions run one by one: the same numbers, slower.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ..backend import accelerated, array_module, is_gpu_array, tf32_allowed
from ..models import Model
from ..ops import Losses
from ..optim import Optimizer, clip_grad_norm
from .philox import fill_normal

# attributes of optimizer, model and Steps -> the dtype of the array of one on the device
MOVING = {"steps": "int64", "lr": "float64", "kl_weight": "float64", "seed": "int64"}


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


@functools.cache
def _stream(cupy: Any) -> Any:
    """The stream of all Steps, so that those of two models do not run at once. It waits for the
    null stream, and that for it."""
    return cupy.cuda.Stream()


class Captured(NamedTuple):
    """A graph, what it reads first, and the pool of all that it writes to."""

    x: Any
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
        Of the noise, 0 or above and below 2^63. A step's noise depends on it and on
        `optimizer.steps` alone.
    max_norm : float, optional
        Clip the gradients to this norm: see `optim.clip_grad_norm`.
    graph : bool
        Capture a step when its batch size comes twice running: the last, smaller batch of an epoch
        is not worth the memory. False runs all steps one kernel at a time.

    Notes
    -----
    lr, kl_weight, free_bits, seed, the settings of the optimizer, the mode of the model and its
    weights may be changed between steps; some of it costs a new capture. Whoever changes a constant
    of a layer, such as the momentum of a batch norm, makes new Steps.
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
        if not 0 <= seed < 2**63:
            raise ValueError(f"Steps: seed must be 0 or above and below 2^63, got {seed}")
        if max_norm is not None and not max_norm > 0:
            raise ValueError(f"Steps: max_norm must be above 0, got {max_norm}")
        self.seed = int(seed)
        self._model, self._optimizer, self._modules = model, optimizer, [*model.modules()]
        # A batch norm that averages over all batches counts them on the host.
        counting = any(getattr(module, "momentum", 0) is None for module in self._modules)
        self._max_norm, self._use_graph = max_norm, graph and not counting
        self._cupy = array_module(model.flat_value)
        self._moving = {name: self._cupy.zeros((), dtype) for name, dtype in MOVING.items()}
        self._told: dict[str, Any] = {}
        self._sums = self._cupy.zeros(4, "float64")
        self._bad_step = self._cupy.zeros((), "int64")
        self.stream = _stream(self._cupy)
        self._captured: dict[tuple[Any, ...], Captured] = {}
        self._memory: list[Any] = []
        self._last: tuple[Any, ...] = ()

    def __call__(self, x: Any) -> None:
        """Enqueue a step on the batch x, an array on the GPU; returns before it is done.

        x comes from the null stream, which this one waits for, or from `stream` itself.
        """
        if not is_gpu_array(x):
            raise TypeError(f"Steps: x must be an array on the GPU, got {type(x).__name__}")
        self._model._check_images("loss", x)
        self._look_at_memory()
        kind = self._kind(x)
        try:
            with self.stream:
                self._tell()
                if kind in self._captured:
                    self._captured[kind].run(x)
                    self._count()
                elif self._use_graph and kind == self._last:
                    self._captured[kind] = self._capture(x)
                else:
                    self._run(x, self._noise_for(x))
                    self._count()
        except BaseException:
            self._told.clear()  # who knows what the device has counted
            raise
        self._last = kind

    def _kind(self, x: Any) -> tuple[Any, ...]:
        """What a graph takes for granted: it serves steps of this kind alone."""
        settings = (a for a in vars(self._optimizer).items() if a[0] not in MOVING)
        return (
            x.shape,
            x.dtype,
            tf32_allowed(),
            getattr(self._model, "free_bits", None),
            *(module.training for module in self._modules),
            *(a for a in settings if isinstance(a[1], bool | int | float | tuple)),
        )

    def _look_at_memory(self) -> None:
        """Forget all graphs if an array that they write to has been exchanged. The old arrays are
        held until then: their memory is nobody else's."""
        arrays = [self._model.flat_value, self._model.flat_grad]
        arrays += [getattr(module, name) for module in self._modules for name in module.buffers]
        arrays += [a for a in vars(self._optimizer).values() if is_gpu_array(a)]
        if [*map(id, arrays)] != [*map(id, self._memory)]:
            self._captured, self._memory = {}, arrays

    def _count(self) -> None:
        """The device has counted a step; so does the host."""
        self._optimizer.steps += 1
        self._told["steps"] += 1

    def forget_losses(self, sums: Sequence[float] = (0, 0, 0, 0)) -> None:
        """Begin the means anew, also after a loss that was not finite; or go on from these sums."""
        with self.stream:
            for place, number in enumerate(sums):
                self._sums[place] = number
            self._bad_step.fill(0)

    def sums(self) -> list[float]:
        """Total, reconstruction and kl, each times the images of its step, summed up since
        `forget_losses`; and the number of images. Waits for all steps enqueued.

        Raises
        ------
        FloatingPointError
            If a loss was NaN or infinite; names the first such step.
        """
        with self.stream:
            *sums, bad = self._cupy.concatenate([self._sums, self._bad_step[None]]).get().tolist()
        if bad:
            self.forget_losses()
            raise FloatingPointError(
                f"the loss of step {int(bad)} was not finite: a smaller lr or clipping (max_norm) "
                "may help; pictures outside of the model's data_range do this, too"
            )
        return sums

    def losses(self) -> Losses:
        """Means over the images since the last call: floats; then they begin anew.

        Raises
        ------
        FloatingPointError
            As `sums`.
        ValueError
            If there was no step.
        """
        *sums, images = self.sums()
        if not images:
            raise ValueError("Steps.losses: no step since the last call")
        self.forget_losses()
        return Losses(*(total / images for total in sums))

    def _capture(self, x: Any) -> Captured:
        """Run a step kernel by kernel, which fills a pool with blocks of the right sizes; and then
        once more while the stream captures, which records it and runs nothing.

        The pool lives with its graph and serves nobody else: what is free in it now, the graph will
        write to.
        """
        self._cupy.get_default_memory_pool().free_all_blocks()  # another pool cannot use them
        pool = self._cupy.cuda.MemoryPool()
        with self._cupy.cuda.using_allocator(pool.malloc):
            x = x.copy()
            eps = self._noise_for(x)
            self._run(x, eps)
            self._count()
            self.stream.begin_capture()
            try:
                self._run(x, eps)
            except BaseException:
                with suppress(Exception):  # of a capture that failed; the reason is the other one
                    self.stream.end_capture()
                raise
            return Captured(x, self.stream.end_capture(), pool)

    def _noise_for(self, x: Any) -> Any:
        return self._cupy.empty((len(x), *self._model.latent_shape), x.dtype)

    def _run(self, x: Any, eps: Any) -> None:
        """The step: train.train_step, its noise before and its bookkeeping after."""
        model, optimizer = self._model, self._optimizer
        with self._on_device():
            fill_normal(eps, self._moving["seed"], optimizer.steps)
            optimizer.zero_grad()
            losses = model.loss(x, eps)
            model.backward()
            if self._max_norm is not None:
                clip_grad_norm(model, self._max_norm)
            optimizer.step()
            record(*losses, self._sums, self._bad_step, optimizer.steps, len(x))

    def _owner(self, name: str) -> Any:
        return {"kl_weight": self._model, "seed": self}.get(name, self._optimizer)

    def _tell(self) -> None:
        """Tell the device what has changed on the host."""
        for name, array in self._moving.items():
            value = getattr(self._owner(name), name, 0)
            if self._told.get(name) != value:
                array.fill(value)
                self._told[name] = value

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Inside, the moving numbers of model and optimizer are arrays on the device."""
        names = [name for name in MOVING if name != "seed" and hasattr(self._owner(name), name)]
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
