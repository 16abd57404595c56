"""What all models share: one flat buffer for the parameters, noise, and pictures from codes.

vae.py adds the objective of a VAE. The models themselves (mlp.py, conv.py, ...) hold what differs:
encode, decode and backward, written out.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from ..backend import (
    array_module,
    device_of,
    gpu_problem,
    is_gpu_array,
    release_memory,
    to_device,
)
from ..module import Module
from ..ops import Losses
from ..ops.checks import FLOATS


class Model(Module):
    """A model of images, trained by

        losses = model.loss(x, eps)      x (N, C, H, W) in data_range, eps (N, *latent_shape)
        model.backward()                 adds d(losses.total) to the gradient of every parameter

    Only `loss` keeps caches for backward; encode, decode, forward and all else may be called in
    between.

    All parameters are views into `flat_value`, their gradients into `flat_grad`, in the order of
    `parameters()`: an optimizer's step is one pass over two arrays.
    """

    image_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    data_range = (0.0, 1.0)
    _flat_value: Any
    _flat_grad: Any

    def __new__(cls, *args: Any, **options: Any) -> Model:
        model = super().__new__(cls)
        weakref.finalize(model, release_memory).atexit = False  # memory goes when its user goes
        return model

    @property
    def flat_value(self) -> Any:
        """All parameters in one array; assigning copies into it."""
        return self._flat_value

    @flat_value.setter
    def flat_value(self, array: Any) -> None:
        self._flat_value[...] = array

    @property
    def flat_grad(self) -> Any:
        """All gradients in one array; assigning copies into it."""
        return self._flat_grad

    @flat_grad.setter
    def flat_grad(self, array: Any) -> None:
        self._flat_grad[...] = array

    def to(self, where: Any) -> Model:
        """Move all parameters and buffers into fresh memory.

        Parameters
        ----------
        where : {"cuda", "cpu"} or dtype
            The device, or one of float32, float64 and complex128. Gradients move along; an
            optimizer follows at its next step.

        Raises
        ------
        ValueError
            For another name or dtype.
        RuntimeError
            If there is no GPU to move to; the message says what to install.
        """
        name = f"{type(self).__name__}.to"
        first = next(iter(self.parameters().values())).value
        device, dtype = device_of(first), first.dtype
        if where in ("cuda", "cpu"):
            device = where
            if device == "cuda" and (problem := gpu_problem()):
                raise RuntimeError(f"{name}('cuda'): {problem}")
        else:
            dtype = _dtype(name, where)
        parameters = self.parameters().values()
        zeros = array_module(to_device(first, device)).zeros
        size = sum(p.value.size for p in parameters)
        self._flat_value, self._flat_grad = zeros(size, dtype), zeros(size, dtype)
        start = 0
        for p in parameters:
            view = slice(start, start := start + p.value.size)
            shape = p.value.shape
            p.move_into(self.flat_value[view].reshape(shape), self.flat_grad[view].reshape(shape))
        for module in self.modules():
            for name in module.buffers:
                buffer = to_device(getattr(module, name), device)
                kind = buffer.dtype if buffer.dtype.kind == "i" else dtype
                setattr(module, name, buffer.astype(kind))  # a copy
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Finish a copy or an unpickled model: its own parameters in its own flat buffers."""
        self.__dict__.update(state)
        self.to(self.dtype)

    def __copy__(self) -> Model:
        """A shallow copy would share its parameters with two flat buffers: copies are deep."""
        return deepcopy(self)

    @property
    def loss_unit(self) -> str:
        """Of the reconstruction term, for people to read."""
        raise NotImplementedError

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes that an image may come in."""
        return (self.image_shape,)

    @property
    def dtype(self) -> np.dtype:
        """The parameters' dtype."""
        return self.flat_value.dtype

    @property
    def device(self) -> str:
        """Where the parameters live, and batches must: "cuda" or "cpu"."""
        return device_of(self.flat_value)

    def zero_grad(self) -> None:
        """Set every gradient to zero: backward adds."""
        self.flat_grad[...] = 0

    def noise(self, n: int, rng: np.random.Generator) -> Any:
        """eps for n images: standard normal (n, *latent_shape), drawn in the model's dtype."""
        dtype: Any = "float32" if self.dtype == "float32" else "float64"
        return to_device(rng.standard_normal((n, *self.latent_shape), dtype), self.device)

    def forward(self, x: Any, eps: Any, keep: bool = False) -> Any:
        """x through encoder, sampling with the noise eps, and decoder."""
        raise NotImplementedError

    def loss(self, x: Any, eps: Any, keep: bool = True) -> Losses:
        """The objective at x with the noise eps; keeps the caches for one backward."""
        raise NotImplementedError

    def backward(self) -> None:
        """Add d(losses.total) to the gradient of every parameter; once for each loss."""
        raise NotImplementedError

    def embed(self, x: Any) -> Any:
        """The code of each image, without noise, in evaluation mode: (N, *latent_shape)."""
        raise NotImplementedError

    def generate(self, z: Any) -> Any:
        """The image of each code, in evaluation mode: (N, *image_shape) in data_range."""
        raise NotImplementedError

    def reconstruct(self, x: Any) -> Any:
        """Each image through its code and back, without noise (z = mu), in evaluation mode."""
        return self.generate(self.embed(x))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for a `with` block; afterwards each layer has the mode it had before."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _start_loss(self, x: Any, keep: bool) -> None:
        """Check x. A loss that keeps its caches ends the life of those before, also if it fails."""
        if keep:
            self._cache = None
        self._check_images("loss", x)

    def _check_images(self, method: str, x: Any) -> None:
        """x is a batch of this model's images: floats in its data_range (on the host: on the GPU
        a cross-entropy of values outside of it is NaN, and a squared error takes them)."""
        name = f"{type(self).__name__}.{method}"
        if not isinstance(x, np.ndarray) and not is_gpu_array(x):
            raise TypeError(f"{name}: x must be a NumPy or CuPy array, got {type(x).__name__}")
        if x.shape[1:] not in self.input_shapes or len(x) == 0:
            shapes = " or ".join(f"(N, {', '.join(map(str, s))})" for s in self.input_shapes)
            raise ValueError(f"{name}: x must have shape {shapes} with N > 0, got {x.shape}")
        if x.dtype.kind != "f":
            raise TypeError(f"{name}: x must be floats, as data.batches makes them, got {x.dtype}")
        if is_gpu_array(x):  # to look at the values would halt the GPU
            return
        low, high = float(x.min()), float(x.max())
        least, most = (float(x.dtype.type(end)) for end in self.data_range)  # as x rounds them
        if not (low >= least and high <= most):  # asked this way round, NaN is refused too
            raise ValueError(
                f"{name}: x must lie in [{least:g}, {most:g}], got values from {low:g} to {high:g}"
            )

    def _check_codes(self, z: Any) -> None:
        """z is a batch of codes for `generate`."""
        if z.shape[1:] != self.latent_shape or len(z) == 0:
            shape = ", ".join(map(str, self.latent_shape))
            raise ValueError(
                f"{type(self).__name__}.generate: z must have shape (N, {shape}) with N > 0, "
                f"got {z.shape}"
            )


def _dtype(name: str, dtype: Any) -> Any:
    try:
        known = str(np.dtype(dtype)) in FLOATS
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"{name}: expected 'cuda', 'cpu' or one of {FLOATS}, got {dtype!r}")
    return np.dtype(dtype)


def grid(model: str, image_shape: tuple[int, ...], factor: int) -> tuple[int, int]:
    """Height and width after `factor` has been divided out of an image (C, H, W); ValueError if it
    does not divide them: the decoder would return another size."""
    _, H, W = image_shape
    if H % factor or W % factor:
        raise ValueError(
            f"{model}: image height and width must be multiples of {factor}, got {H} x {W}"
        )
    return H // factor, W // factor
