"""A convolutional VAE: two strided convolutions down, two transposed ones up.

    encoder   x -> conv1 -> ReLU -> conv2 -> ReLU -> flatten -> fc1 -> ReLU -> h
              h -> fc_mu -> mu,   h -> fc_logvar -> logvar
    sample    z = mu + exp(logvar / 2) eps
    decoder   z -> fc2 -> ReLU -> fc3 -> ReLU -> reshape -> deconv1 -> ReLU -> deconv2 -> logits

For 28 x 28 images and 20 latent dimensions: 1,691,369 parameters. (The tutorial behind this model
lists 64 parameters too many for fc3: 256 x 3136 weights and 3136 biases are 805,952.)
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..layers import Conv2d, ConvTranspose2d, Linear, ReLU
from .vae import BernoulliVAE


class Conv(BernoulliVAE):
    """Convolutional VAE. Image height and width are multiples of 4, because of two strides of 2."""

    side_multiple = 4

    def __init__(
        self,
        latent_dim: int = 20,
        image_shape: tuple[int, int, int] = (1, 28, 28),
        kl_weight: float = 1.0,
        free_bits: float = 0.0,
        *,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(kl_weight, free_bits)
        self.image_shape, self.latent_shape = tuple(image_shape), (latent_dim,)
        self.grid = (64, *self._grid())  # shape of conv2's output, deconv1's input
        C, flat = image_shape[0], prod(self.grid)
        made = {"rng": rng, "dtype": dtype}
        self.conv1, self.relu1 = Conv2d(C, 32, 4, stride=2, padding=1, **made), ReLU()
        self.conv2, self.relu2 = Conv2d(32, 64, 4, stride=2, padding=1, **made), ReLU()
        self.fc1, self.relu3 = Linear(flat, 256, **made), ReLU()
        self.fc_mu = Linear(256, latent_dim, **made)
        self.fc_logvar = Linear(256, latent_dim, **made)
        self.fc2, self.relu4 = Linear(latent_dim, 256, **made), ReLU()
        self.fc3, self.relu5 = Linear(256, flat, **made), ReLU()
        self.deconv1, self.relu6 = ConvTranspose2d(64, 32, 4, stride=2, padding=1, **made), ReLU()
        self.deconv2 = ConvTranspose2d(32, C, 4, stride=2, padding=1, **made)
        self.to(dtype)

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, Any]:
        h = self.conv1.forward(x, keep)  # (N, 32, H/2, W/2)
        h = self.relu1.forward(h, keep)
        h = self.conv2.forward(h, keep)  # (N, 64, H/4, W/4)
        h = self.relu2.forward(h, keep)
        h = h.reshape(len(h), -1)  # (N, 64*H/4*W/4)
        h = self.fc1.forward(h, keep)  # (N, 256)
        h = self.relu3.forward(h, keep)
        return self.fc_mu.forward(h, keep), self.fc_logvar.forward(h, keep)  # (N, latent_dim) each

    def decode(self, z: Any, keep: bool = False) -> Any:
        h = self.fc2.forward(z, keep)  # (N, 256)
        h = self.relu4.forward(h, keep)
        h = self.fc3.forward(h, keep)  # (N, 64*H/4*W/4)
        h = self.relu5.forward(h, keep)
        h = h.reshape(len(h), *self.grid)  # (N, 64, H/4, W/4)
        h = self.deconv1.forward(h, keep)  # (N, 32, H/2, W/2)
        h = self.relu6.forward(h, keep)
        return self.deconv2.forward(h, keep)  # (N, C, H, W)

    def backward(self) -> None:
        """decode, sample and encode above, read from the last line to the first."""
        dlogits, dmu_kl, dlogvar_kl = self.loss_backward()

        dh = self.deconv2.backward(dlogits)
        dh = self.relu6.backward(dh)
        dh = self.deconv1.backward(dh)
        dh = dh.reshape(len(dh), -1)
        dh = self.relu5.backward(dh)
        dh = self.fc3.backward(dh)
        dh = self.relu4.backward(dh)
        dz = self.fc2.backward(dh)

        # mu and logvar reach the loss on two paths, through z and through the KL term: add both
        dmu_z, dlogvar_z = self.sample.backward(dz)
        dh = self.fc_mu.backward(dmu_kl + dmu_z) + self.fc_logvar.backward(dlogvar_kl + dlogvar_z)

        dh = self.relu3.backward(dh)
        dh = self.fc1.backward(dh)
        dh = dh.reshape(len(dh), *self.grid)
        dh = self.relu2.backward(dh)
        dh = self.conv2.backward(dh)
        dh = self.relu1.backward(dh)
        self.conv1.backward(dh, need_dx=False)  # the image needs no gradient
