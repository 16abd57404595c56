"""What all models share: one flat buffer for the parameters, noise, and images from codes. The
models (mlp.py, conv.py, ...) write out encode, decode and backward."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np

from ..backend import (
    FLOATS,
    array_module,
    check_batch,
    device_of,
    gpu_problem,
    release_memory,
    to_device,
)
from ..layers import Layer
from ..ops import Losses


class Model(Layer):
    """A model of images, trained by

        losses = model.loss(x, eps)      x (N, C, H, W) in data_range, eps (N, *latent_shape)
        model.backward()                 adds d(losses.total) to the gradient of every parameter

    Only `loss` keeps caches; you may call every other method between it and backward. Parameters
    are views into `flat_value` and gradients into `flat_grad`, in the order of `parameters()`, so a
    step is one pass over two arrays.
    """

    decoder_distribution: str | None = None  # p(x|z): "Bernoulli", "Gaussian" or None
    has_skips = False  # whether the decoder gets more of an image than its code
    shared_codes = 1  # how many dimensions of z share one mu and one logvar
    image_shape: tuple[int, ...]
    other_shapes: tuple[tuple[int, ...], ...] = ()  # other shapes that are accepted for an image
    side_multiple = 1  # height and width of an image are multiples of it
    latent_shape: tuple[int, ...]
    data_range = (0.0, 1.0)
    dtype: np.dtype  # of the parameters
    device = "cpu"  # "cuda" or "cpu": where the parameters are, and where batches must be
    flat_value: Any  # all parameters in one array
    flat_grad: Any  # all gradients in one array

    def __new__(cls, *args: Any, **options: Any) -> Model:
        model = super().__new__(cls)
        weakref.finalize(model, release_memory).atexit = False  # free the kernels' memory
        return model

    def __setattr__(self, name: str, value: Any) -> None:
        """Assigning to a flat buffer copies into it, so that the parameters remain views of it."""
        if name in ("flat_value", "flat_grad") and name in vars(self):
            vars(self)[name][...] = value
        else:
            super().__setattr__(name, value)

    def _repr_html_(self) -> str | None:
        """For a notebook: the layers with their outputs; None, which leaves it to `repr`, if a
        forward pass is not possible, as in a class that is not finished."""
        from .inspect import html_summary  # which needs this file

        try:
            return html_summary(self)
        except Exception:
            return None

    def to(self, where: Any) -> Model:
        """Move all parameters and buffers into fresh memory.

        Parameters
        ----------
        where : {"cuda", "cpu"} or dtype
            The device, or float32, float64 or complex128. Gradients move too; an optimizer moves
            its state at its next step.

        Raises
        ------
        ValueError
            For another name or dtype.
        RuntimeError
            If there is no GPU; the message says what to install.
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
        vars(self).update(flat_value=zeros(size, dtype), flat_grad=zeros(size, dtype))
        self.dtype, self.device = np.dtype(dtype), device
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
        """Give a copied or unpickled model flat buffers of its own."""
        self.__dict__.update(state)
        self.to(self.dtype)

    def __copy__(self) -> Model:
        """Always a deep copy: a shallow one would have flat buffers without its parameters."""
        return deepcopy(self)

    @classmethod
    def nearest_shape(cls, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The image shape that the model admits, nearest to this one."""
        C, *sides = image_shape
        n = cls.side_multiple
        return (C, *(n * max(1, round(side / n)) for side in sides))

    def _grid(self) -> tuple[int, int]:
        """Height and width of an image, divided by `side_multiple`, which must divide them."""
        _, H, W = self.image_shape
        n = self.side_multiple
        if H % n or W % n:
            raise ValueError(
                f"{type(self).__name__}: image height and width must be multiples of {n}, got "
                f"{H} x {W}"
            )
        return H // n, W // n

    @property
    def loss_unit(self) -> str:
        """The unit of the reconstruction term."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set every gradient to zero, because backward adds to it."""
        self.flat_grad[...] = 0

    def noise(self, n: int, rng: np.random.Generator) -> Any:
        """eps for n images: standard normal (n, *latent_shape), drawn in the model's dtype."""
        dtype: Any = "float32" if self.dtype == "float32" else "float64"
        return to_device(rng.standard_normal((n, *self.latent_shape), dtype), self.device)

    def forward(self, x: Any, eps: Any, keep: bool = False) -> Any:
        """Encode x, draw z with the noise eps, decode z."""
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
        """Encode and decode each image without noise (z = mu), in evaluation mode."""
        return self.generate(self.embed(x))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for a `with` block; afterwards each layer is in its old mode again."""
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode

    def _check(self, method: str, name: str, a: Any, *shapes: tuple[int, ...], **more: Any) -> None:
        who = f"{type(self).__name__}.{method}"
        check_batch(who, name, a, shapes, self.dtype, self.device, **more)

    def _check_images(self, method: str, x: Any) -> None:
        """Check that x is a batch of this model's images, in its data_range."""
        shapes = self.image_shape, *self.other_shapes
        self._check(method, "x", x, *shapes, limits=self.data_range)

    def _check_codes(self, z: Any) -> None:
        """Check that z is a batch of codes for `generate`."""
        self._check("generate", "z", z, self.latent_shape)


def _dtype(name: str, dtype: Any) -> Any:
    try:
        known = str(np.dtype(dtype)) in FLOATS
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"{name}: expected 'cuda', 'cpu' or one of {FLOATS}, got {dtype!r}")
    return np.dtype(dtype)
