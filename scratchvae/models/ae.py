"""The plain autoencoder: `mlp` without the distribution.

    encoder   x -> fc1 -> ReLU -> fc_z -> z
    decoder   z -> fc2 -> ReLU -> fc3 -> sigmoid -> reconstruction
    loss      squared error, summed over the pixels, mean over the batch

It is not a generative model: its codes follow no known distribution, so you cannot know which z to
decode. In `mlp` the KL term pulls the codes towards N(0, I).
For 28 x 28 images and 20 latent dimensions: 644,804 parameters.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..backend import array_module
from ..layers import Linear, ReLU, Sigmoid
from ..ops.elbo import Losses
from ..ops.mse import mse_backward, mse_forward
from .base import Model


class AE(Model):
    """Fully connected autoencoder with one hidden layer of 400 on each side."""

    @property
    def loss_unit(self) -> str:
        return "squared error per image"

    def __init__(
        self,
        latent_dim: int = 20,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        *,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        self.image_shape, self.latent_shape = tuple(image_shape), (latent_dim,)
        made = {"rng": rng, "dtype": dtype}
        self.fc1, self.relu1 = Linear(prod(image_shape), 400, **made), ReLU()
        self.fc_z = Linear(400, latent_dim, **made)
        self.fc2, self.relu2 = Linear(latent_dim, 400, **made), ReLU()
        self.fc3, self.sigmoid = Linear(400, prod(image_shape), **made), Sigmoid()
        self.to(dtype)

    def encode(self, x: Any, keep: bool = False) -> Any:
        """z: (N, latent_dim)."""
        h = self.fc1.forward(x.reshape(len(x), -1), keep)  # (N, 400)
        h = self.relu1.forward(h, keep)
        return self.fc_z.forward(h, keep)

    def decode(self, z: Any, keep: bool = False) -> Any:
        """The image of each code: (N, *image_shape), in [0, 1]."""
        h = self.fc2.forward(z, keep)  # (N, 400)
        h = self.relu2.forward(h, keep)
        image = self.sigmoid.forward(self.fc3.forward(h, keep), keep)  # (N, C*H*W)
        return image.reshape(len(z), *self.image_shape)

    def forward(self, x: Any, eps: Any = None, keep: bool = False) -> Any:
        """The reconstruction of x; eps is ignored."""
        return self.decode(self.encode(x, keep), keep)

    def loss(self, x: Any, eps: Any = None, keep: bool = True) -> Losses:
        if keep:
            vars(self).pop("_cache", None)  # drop an earlier loss's caches, even if this one fails
        self._check_images("loss", x)
        squared_error, mse_cache = mse_forward(self.forward(x, eps, keep), x, "sum")  # (N,)
        reconstruction = squared_error.mean()
        losses = Losses(total=reconstruction, reconstruction=reconstruction, kl=0 * reconstruction)
        return self._keep((losses, (squared_error, mse_cache)), keep)

    def backward(self) -> None:
        """loss, decode and encode above, read from the last line to the first."""
        squared_error, mse_cache = self._kept()
        xp, N = array_module(squared_error), len(squared_error)
        dimage = mse_backward(xp.full_like(squared_error, 1 / N), mse_cache)

        dh = self.sigmoid.backward(dimage.reshape(N, -1))
        dh = self.fc3.backward(dh)
        dh = self.relu2.backward(dh)
        dz = self.fc2.backward(dh)

        dh = self.fc_z.backward(dz)
        dh = self.relu1.backward(dh)
        self.fc1.backward(dh, need_dx=False)  # the image needs no gradient

    def embed(self, x: Any) -> Any:
        self._check_images("embed", x)
        return self.encode(x)

    def generate(self, z: Any) -> Any:
        self._check_codes(z)
        return self.decode(z)
