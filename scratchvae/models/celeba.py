"""A deeper convolutional VAE for colour images: five blocks down, five blocks up.

    encoder   x -> 5 x [Conv2d -> BatchNorm2d -> LeakyReLU] -> flatten -> h
              h -> fc_mu -> mu,   h -> fc_logvar -> logvar
    sample    z = mu + exp(logvar / 2) eps
    decoder   z -> decoder_input -> reshape -> 5 x [ConvTranspose2d -> BatchNorm2d -> LeakyReLU]
              the last block with Tanh in place of LeakyReLU: images lie in [-1, 1]
    loss      mean squared error + 0.00025 KL

Every convolution has a 3 x 3 kernel and halves or doubles height and width. For 64 x 64 images and
128 latent dimensions: 3,928,329 parameters, the 33 rows of `scratchvae summary celeba`. The ten
biases before a batch norm have no effect in training, because it subtracts the mean; their
gradients are zero up to rounding. They are kept because the tutorial has them.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ..layers import (
    BatchNorm2d,
    BatchNorm2dLeakyReLU,
    Conv2d,
    ConvTranspose2d,
    Linear,
    Sequential,
    Tanh,
)
from ..module import Module
from .vae import SquaredErrorVAE

CHANNELS = (32, 64, 128, 256, 512)


class CelebA(SquaredErrorVAE):
    """Convolutional VAE with batch normalisation. Height and width are multiples of 32; at 32 x 32
    the deepest map has one value per channel, so a training batch needs two images."""

    data_range = (-1.0, 1.0)
    side_multiple = 32

    def __init__(
        self,
        latent_dim: int = 128,
        image_shape: tuple[int, int, int] = (3, 64, 64),
        kl_weight: float = 0.00025,
        free_bits: float = 0.0,
        *,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(kl_weight, free_bits)
        self.image_shape, self.latent_shape = tuple(image_shape), (latent_dim,)
        self.grid = (CHANNELS[-1], *self._grid())  # between encoder and decoder
        channels, flat = (image_shape[0], *CHANNELS), prod(self.grid)
        made = {"rng": rng, "dtype": dtype}

        encoder: list[Module] = []
        decoder: list[Module] = []
        for a, b in pairwise(channels):
            conv = Conv2d(a, b, 3, stride=2, padding=1, **made)
            encoder.append(Sequential(conv, BatchNorm2dLeakyReLU(b, 0.01, dtype=dtype)))
        for a, b in pairwise(reversed(channels)):
            deconv = ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=1, **made)
            if len(decoder) < len(CHANNELS) - 1:
                decoder.append(Sequential(deconv, BatchNorm2dLeakyReLU(b, 0.01, dtype=dtype)))
            else:
                decoder.append(Sequential(deconv, BatchNorm2d(b, dtype=dtype), Tanh()))

        self.encoder = Sequential(*encoder)
        self.fc_mu = Linear(flat, latent_dim, **made)
        self.fc_logvar = Linear(flat, latent_dim, **made)
        self.decoder_input = Linear(latent_dim, flat, **made)
        self.decoder = Sequential(*decoder)
        self.to(dtype)

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, Any]:
        h = self.encoder.forward(x, keep)  # (N, 512, H/32, W/32)
        h = h.reshape(len(h), -1)  # (N, 512*H/32*W/32)
        return self.fc_mu.forward(h, keep), self.fc_logvar.forward(h, keep)  # (N, latent_dim) each

    def decode(self, z: Any, keep: bool = False) -> Any:
        h = self.decoder_input.forward(z, keep)  # (N, 512*H/32*W/32)
        h = h.reshape(len(h), *self.grid)  # (N, 512, H/32, W/32)
        return self.decoder.forward(h, keep)  # (N, C, H, W), the image

    def backward(self) -> None:
        """decode, sample and encode above, read from the last line to the first."""
        dimage, dmu_kl, dlogvar_kl = self.loss_backward()

        dh = self.decoder.backward(dimage)
        dh = dh.reshape(len(dh), -1)
        dz = self.decoder_input.backward(dh)

        # mu and logvar reach the loss on two paths, through z and through the KL term: add both
        dmu_z, dlogvar_z = self.sample.backward(dz)
        dh = self.fc_mu.backward(dmu_kl + dmu_z) + self.fc_logvar.backward(dlogvar_kl + dlogvar_z)

        dh = dh.reshape(len(dh), *self.grid)
        self.encoder.backward(dh, need_dx=False)  # the image needs no gradient
