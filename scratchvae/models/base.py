"""What all models share: one flat buffer for the parameters, noise, and pictures from codes.

`BernoulliVAE` adds the objective of the models with a Bernoulli decoder. The models themselves
(mlp.py, conv.py, ae.py) hold what differs: encode, decode, forward and backward, written out.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from ..backend import array_module, asarray, is_gpu_array
from ..layers import Reparameterize
from ..module import Module
from ..ops import (
    Losses,
    bce_backward,
    bce_forward,
    elbo_backward,
    elbo_forward,
    kl_backward,
    kl_forward,
    sigmoid_forward,
)
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

    def to(self, dtype: Any) -> Model:
        """Move all parameters (and floating buffers) into fresh flat buffers of this dtype:
        float32, float64 or complex128. An optimizer made before holds moments of the old dtype."""
        if str(np.dtype(dtype)) not in FLOATS:
            raise ValueError(
                f"{type(self).__name__}.to: dtype must be one of {FLOATS}, got {dtype}"
            )
        parameters = self.parameters().values()
        xp = array_module(next(iter(parameters)).value)
        size = sum(p.value.size for p in parameters)
        self._flat_value, self._flat_grad = xp.zeros(size, dtype), xp.zeros(size, dtype)
        start = 0
        for p in parameters:
            view = slice(start, start := start + p.value.size)
            shape = p.value.shape
            p.move_into(self.flat_value[view].reshape(shape), self.flat_grad[view].reshape(shape))
        for module in self.modules():
            for name in module.buffers:
                if (buffer := getattr(module, name)).dtype.kind != "i":
                    setattr(module, name, buffer.astype(dtype))
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Finish a copy or an unpickled model: its own parameters in its own flat buffers."""
        self.__dict__.update(state)
        self.to(self.dtype)

    def __copy__(self) -> Model:
        """A shallow copy would share its parameters with two flat buffers: copies are deep."""
        return deepcopy(self)

    @property
    def dtype(self) -> np.dtype:
        """The parameters' dtype."""
        return self.flat_value.dtype

    def zero_grad(self) -> None:
        """Set every gradient to zero: backward adds."""
        self.flat_grad[...] = 0

    def noise(self, n: int, rng: np.random.Generator) -> Any:
        """eps for n images: standard normal (n, *latent_shape), drawn in the model's dtype."""
        dtype: Any = "float32" if self.dtype == "float32" else "float64"
        return asarray(rng.standard_normal((n, *self.latent_shape), dtype))

    def loss(self, x: Any, eps: Any, keep: bool = True) -> Losses:
        """The objective at x with the noise eps; keeps the caches for one backward."""
        raise NotImplementedError

    def backward(self) -> None:
        """Add d(losses.total) to the gradient of every parameter; once for each loss."""
        raise NotImplementedError

    def embed(self, x: Any) -> Any:
        """The code of each image, without noise: (N, *latent_shape)."""
        raise NotImplementedError

    def generate(self, z: Any) -> Any:
        """The image of each code: (N, *image_shape) in data_range."""
        raise NotImplementedError

    def reconstruct(self, x: Any) -> Any:
        """Each image through its code and back, without noise."""
        return self.generate(self.embed(x))

    def _start_loss(self, x: Any, keep: bool) -> None:
        """x is a batch of this model's images, in its data_range. A loss that keeps its caches ends
        the life of those before, also if it fails midway."""
        if keep:
            self._cache = None
        name = f"{type(self).__name__}.loss"
        if not isinstance(x, np.ndarray) and not is_gpu_array(x):
            raise TypeError(f"{name}: x must be a NumPy or CuPy array, got {type(x).__name__}")
        if x.shape[1:] != self.image_shape or len(x) == 0:
            shape = ", ".join(map(str, self.image_shape))
            raise ValueError(f"{name}: x must have shape (N, {shape}) with N > 0, got {x.shape}")
        low, high = float(x.min()), float(x.max())
        least, most = (float(x.dtype.type(end)) for end in self.data_range)  # as x rounds them
        if not (low >= least and high <= most):  # asked this way round, NaN is refused too
            raise ValueError(
                f"{name}: x must lie in [{least:g}, {most:g}], got values from {low:g} to {high:g}"
            )


class BernoulliVAE(Model):
    """A VAE whose decoder gives the logits of one Bernoulli variable per pixel.

    Its objective is the -ELBO in nats per image, with the KL term weighted by `kl_weight` (beta).
    """

    def __init__(self, kl_weight: float = 1.0) -> None:
        self.kl_weight = kl_weight
        self.sample = Reparameterize()

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, Any]:
        """mu, logvar of q(z|x): (N, *latent_shape) each."""
        raise NotImplementedError

    def decode(self, z: Any, keep: bool = False) -> Any:
        """The logits of p(x|z): (N, *image_shape)."""
        raise NotImplementedError

    def forward(self, x: Any, eps: Any, keep: bool = False) -> tuple[Any, Any, Any]:
        """logits, mu, logvar: encode x, draw z with the noise eps, decode it."""
        mu, logvar = self.encode(x, keep)
        z = self.sample.forward(mu, logvar, eps, keep)
        return self.decode(z, keep), mu, logvar

    def loss(self, x: Any, eps: Any, keep: bool = True) -> Losses:
        self._start_loss(x, keep)
        logits, mu, logvar = self.forward(x, eps, keep)
        reconstruction, bce_cache = bce_forward(logits, x)  # (N,) nats
        kl, kl_cache = kl_forward(mu, logvar)  # (N,) nats
        losses, elbo_cache = elbo_forward(reconstruction, kl, self.kl_weight)
        return self._keep((losses, (bce_cache, kl_cache, elbo_cache)), keep)

    def loss_backward(self) -> tuple[Any, Any, Any]:
        """dlogits, and the gradients that reach mu and logvar straight from the KL term."""
        bce_cache, kl_cache, elbo_cache = self._kept()
        dreconstruction, dkl = elbo_backward(1.0, elbo_cache)
        dmu_kl, dlogvar_kl = kl_backward(dkl, kl_cache)
        dlogits = bce_backward(dreconstruction, bce_cache)
        return dlogits, dmu_kl, dlogvar_kl

    def embed(self, x: Any) -> Any:
        return self.encode(x, keep=False)[0]

    def generate(self, z: Any) -> Any:
        return sigmoid_forward(self.decode(z, keep=False))[0]
