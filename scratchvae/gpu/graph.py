"""Training steps on the GPU: each step is one CUDA graph.

A kernel launch costs the host some microseconds, more than most kernels of a small model run. A
CUDA graph records all launches of a step (the capture); one launch runs it again (the replay), with
the same kernels, addresses and arguments. So everything that changes lies in device memory:

    x                        copied to the same address before every replay
    eps                      drawn by the graph itself from seed and step, see philox.py
    seed, steps, lr, beta    arrays of one number, overwritten when they change on the host
    sums                     the losses, added up on the device, copied to the host on request
    bad_step                 the first step whose loss was not finite

Without a graph the same functions run one by one and give the same bits.
Source: NVIDIA, "CUDA C++ Programming Guide", CUDA Graphs, creating a graph by stream capture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..backend import accelerated, array_module, is_gpu_array, tf32_allowed
from ..models import Model
from ..optim import Optimizer, clip_grad_norm, how_to_stop_growth
from .philox import fill_normal
from .prefetch import prefetch

# What changes from step to step -> the dtype of its array on the device.
NUMBERS = {"seed": "int64", "steps": "int64", "lr": "float64", "kl_weight": "float64"}
CHECK_EVERY = 100  # steps between two checks of bad_step, each of which waits for the GPU


@accelerated
def record(total, reconstruction, kl, sums, bad_step, step, N):
    """Add the losses of N images to `sums`, (4,) float64; `bad_step` keeps the first bad step."""
    sums[0] += total * N
    sums[1] += reconstruction * N
    sums[2] += kl * N
    sums[3] += N
    finite = array_module(total).isfinite(total)
    bad_step += (bad_step == 0) * (1 - finite) * step


@functools.cache
def _stream(cupy: Any) -> Any:
    """One stream for all models, which share cuBLAS's workspace; it waits for the null stream."""
    return cupy.cuda.Stream()


class _OnDevice:
    """An optimizer's graphs and arrays, without a reference to it: the memory is freed with it."""

    def __init__(self, cupy: Any) -> None:
        self.numbers = {name: cupy.zeros((), dtype) for name, dtype in NUMBERS.items()}
        self.copied: dict[str, Any] = {}  # what the host last wrote into `numbers`
        self.sums, self.bad_step = cupy.zeros(4, "float64"), cupy.zeros((), "int64")
        # kind -> the batch that the graph reads, the graph, the pool of everything that it writes
        self.graphs: dict[tuple[Any, ...], tuple[Any, Any, Any]] = {}
        self.arrays: list[Any] = []  # of model and optimizer, which the graphs read and write
        self.last_kind: tuple[Any, ...] = ()


_ON_DEVICE: WeakKeyDictionary[Optimizer, _OnDevice] = WeakKeyDictionary()


class GPUStepper:
    """Training steps of a model on the GPU; `train.CPUStepper` has the same methods.

    Parameters
    ----------
    model, optimizer
        The model on the GPU (`model.to("cuda")`), and its optimizer.
    max_norm : float, optional
        Clip the gradients to this norm: see `optim.clip_grad_norm`.
    graph : bool
        Capture a step when its batch size occurs twice in a row, so not for the last, smaller batch
        of an epoch. False runs every step kernel by kernel.

    Notes
    -----
    Between steps you may change weights, the model's mode, plain numbers such as kl_weight and
    free_bits, and the optimizer's settings; some changes cost a new capture. All steppers of an
    optimizer share its graphs; each starts its sums at zero.
    """

    def __init__(
        self, model: Model, optimizer: Optimizer, max_norm: float | None = None, graph: bool = True
    ) -> None:
        if optimizer.model is not model:
            raise ValueError("GPUStepper: the optimizer was made for another model")
        if model.device != "cuda":
            raise ValueError("GPUStepper: the model is on the CPU; move it with model.to('cuda')")
        self.seed = 0  # of the noise, which depends on it and on optimizer.steps alone
        self._model, self._optimizer, self._max_norm = model, optimizer, max_norm
        self._modules = [*model.modules()]
        # A batch norm that averages over all batches counts them on the host.
        counting = any(getattr(module, "momentum", 0) is None for module in self._modules)
        self._use_graph = graph and not counting
        self._cupy = array_module(model.flat_value)
        self.stream = _stream(self._cupy)
        self._device = _ON_DEVICE.setdefault(optimizer, _OnDevice(self._cupy))
        self.sums = [0.0] * 4

    def start_epoch(self, noise: np.random.Generator) -> None:
        """Draw the seed of the epoch's noise."""
        self.seed = int(noise.integers(2**63))

    def prefetch(self, batches: Iterable[np.ndarray]) -> Iterator[Any]:
        """The batches on the GPU, each copied while the step before it runs."""
        return prefetch(batches, self.stream)

    def step(self, x: Any) -> None:
        """Enqueue a step on the batch x, a GPU array from the null stream or `stream`; do not wait
        for it. Every hundredth step waits, and raises FloatingPointError if a loss was not
        finite."""
        in_memory(functools.partial(self._step, x), "training", self._model, len(x))
        if self._optimizer.steps % CHECK_EVERY == 0:
            _ = self.sums  # may raise

    def _step(self, x: Any) -> None:
        if not is_gpu_array(x):
            raise TypeError(f"GPUStepper: x must be an array on the GPU, got {type(x).__name__}")
        self._model._check_images("loss", x)
        self._forget_graphs_of_other_arrays()
        device, kind = self._device, self._kind(x)
        try:
            with self.stream:
                self._copy_numbers()
                if self._use_graph and kind in device.graphs:
                    batch, graph, _ = device.graphs[kind]
                    batch[...] = x
                    graph.launch()
                elif self._use_graph and kind == device.last_kind:
                    device.graphs[kind] = self._run_and_capture(x)
                else:
                    self._run(x)
        except BaseException:
            device.copied.clear()  # the device may have counted this step
            raise
        device.last_kind = kind
        self._optimizer.steps += 1  # the step did so on the device
        device.copied["steps"] += 1

    def _kind(self, x: Any) -> tuple[Any, ...]:
        """Everything that a capture fixes: a graph serves only steps of the same kind."""
        settings = (
            value
            for owner in (self._optimizer, *self._modules)
            for name, value in vars(owner).items()
            if isinstance(value, (bool, int, float)) and name not in (*NUMBERS, "training")
        )
        modes = (module.training for module in self._modules)
        betas = getattr(self._optimizer, "betas", None)
        return x.shape, x.dtype, tf32_allowed(), self._max_norm, betas, *modes, *settings

    def _forget_graphs_of_other_arrays(self) -> None:
        """Drop all graphs if an array was replaced; until then `arrays` keeps its memory in use."""
        arrays = [self._model.flat_value, self._model.flat_grad]
        arrays += [getattr(module, name) for module in self._modules for name in module.buffers]
        arrays += [a for a in vars(self._optimizer).values() if is_gpu_array(a)]
        if [*map(id, arrays)] != [*map(id, self._device.arrays)]:
            self._device.graphs, self._device.arrays = {}, arrays

    def _copy_numbers(self) -> None:
        """Write to the device the numbers that have changed on the host."""
        optimizer, device = self._optimizer, self._device
        kl_weight = getattr(self._model, "kl_weight", 0.0)
        now = self.seed, optimizer.steps, optimizer.lr, kl_weight
        for name, number in zip(NUMBERS, now, strict=True):
            if device.copied.get(name) != number:
                device.numbers[name].fill(number)
                device.copied[name] = number

    def _run_and_capture(self, x: Any) -> tuple[Any, Any, Any]:
        """Run the step, so that the graph's own pool gets blocks of the right sizes; capture."""
        self._cupy.get_default_memory_pool().free_all_blocks()  # another pool cannot use them
        pool = self._cupy.cuda.MemoryPool()
        with self._cupy.cuda.using_allocator(pool.malloc):
            x = x.copy()
            self._run(x)
            self.stream.begin_capture()
            try:
                self._run(x)
            except BaseException:
                with suppress(Exception):  # the capture has failed; the first error says why
                    self.stream.end_capture()
                raise
            return x, self.stream.end_capture(), pool

    def _run(self, x: Any) -> None:
        """The step: `train.train_step` with noise and numbers on the device; then `record`."""
        model, optimizer, device = self._model, self._optimizer, self._device
        seed, step, lr, beta = device.numbers.values()
        eps = self._cupy.empty((len(x), *model.latent_shape), x.dtype)
        fill_normal(eps, seed, step)
        optimizer.zero_grad()
        losses = model.loss(x, eps, **{"kl_weight": beta} if hasattr(model, "kl_weight") else {})
        model.backward()
        if self._max_norm is not None:
            clip_grad_norm(model, self._max_norm)
        step += 1  # in place, on the device
        optimizer.update(step, lr)
        record(*losses, device.sums, device.bad_step, step, len(x))

    @property
    def sums(self) -> list[float]:
        """Total, reconstruction, kl, each times the images of its step; and the images. Waits for
        the GPU; if a loss was not finite, raises FloatingPointError and resets the sums."""
        device = self._device
        with self.stream:
            numbers = self._cupy.concatenate([device.sums, device.bad_step[None]])
            *sums, bad_step = numbers.get().tolist()
        if bad_step:
            self.sums = [0.0] * 4
            way = "check the images, the weights and the KL weight"
            if bad_step > 1:
                way = how_to_stop_growth(self._optimizer, self._max_norm is not None)
            raise FloatingPointError(f"the loss of step {int(bad_step)} was not finite: {way}")
        return sums

    @sums.setter
    def sums(self, sums: Sequence[float]) -> None:
        with self.stream:
            for i, number in enumerate(sums):
                self._device.sums[i] = number
            self._device.bad_step.fill(0)


def in_memory(work: Callable[[], Any], name: str, model: Model, N: int) -> Any:
    """`work()`, called `name`, on N images. A MemoryError on the GPU names the batch size."""
    try:
        return work()
    except MemoryError:
        if model.device != "cuda":
            raise
    # After the except block the traceback no longer holds arrays.
    for module in model.modules():
        vars(module).pop("_cache", None)
    cupy = array_module(model.flat_value)
    cupy.get_default_memory_pool().free_all_blocks()
    free, total = (size / 2**30 for size in cupy.cuda.runtime.memGetInfo())
    raise MemoryError(
        f"{name}: a batch of {N:,} images does not fit into the GPU's memory ({free:.2f} of "
        f"{total:.2f} GiB free): choose a smaller batch"
    )
