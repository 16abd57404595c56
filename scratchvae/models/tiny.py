"""The smallest convolutional VAE: four convolutions, and linear layers without biases.

    encoder   x -> conv1 -> ReLU -> conv2 -> ReLU -> pool to 4 x 4 -> flatten -> h
              h -> linear_mu -> mu,   h -> linear_logvar -> logvar
    sample    z = mu + exp(logvar / 2) eps
    decoder   z -> linear -> ReLU -> reshape -> deconv1 -> ReLU -> deconv2 -> upsample -> logits

Heights and widths go 28, 14, 7, 4, and back; the windows of the pooling from 7 to 4 overlap. 9,569
+ 1,536 latent_dim parameters. Differences from the tutorial: docs/errata.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..layers import AdaptiveAvgPool2d, Conv2d, ConvTranspose2d, Linear, ReLU, UpsamplingNearest2d
from .vae import BernoulliVAE


class Tiny(BernoulliVAE):
    """Small convolutional VAE for 28 x 28 images, with or without a channel axis."""

    other_shapes = ((28, 28),)

    @classmethod
    def nearest_shape(cls, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        return 1, 28, 28

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
        if tuple(image_shape) != (1, 28, 28):
            raise ValueError(
                f"Tiny: image_shape must be (1, 28, 28), the only size its decoder can draw; "
                f"got {tuple(image_shape)}"
            )
        super().__init__(kl_weight, free_bits)
        self.image_shape, self.latent_shape = (1, 28, 28), (latent_dim,)
        made = {"rng": rng, "dtype": dtype}
        self.conv1, self.relu1 = Conv2d(1, 16, 3, stride=2, padding=1, **made), ReLU()
        self.conv2, self.relu2 = Conv2d(16, 32, 3, stride=2, padding=1, **made), ReLU()
        self.pool = AdaptiveAvgPool2d(4)
        self.linear_mu = Linear(32 * 4 * 4, latent_dim, bias=False, **made)
        self.linear_logvar = Linear(32 * 4 * 4, latent_dim, bias=False, **made)
        self.linear, self.relu3 = Linear(latent_dim, 32 * 4 * 4, bias=False, **made), ReLU()
        self.deconv1, self.relu4 = ConvTranspose2d(32, 16, 3, stride=2, padding=1, **made), ReLU()
        self.deconv2 = ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1, **made)
        self.upsample = UpsamplingNearest2d(scale_factor=2)
        self.to(dtype)

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, Any]:
        h = x.reshape(len(x), 1, 28, 28)
        h = self.conv1.forward(h, keep)  # (N, 16, 14, 14)
        h = self.relu1.forward(h, keep)
        h = self.conv2.forward(h, keep)  # (N, 32, 7, 7)
        h = self.relu2.forward(h, keep)
        h = self.pool.forward(h, keep)  # (N, 32, 4, 4)
        h = h.reshape(len(h), -1)  # (N, 512)
        return self.linear_mu.forward(h, keep), self.linear_logvar.forward(h, keep)

    def decode(self, z: Any, keep: bool = False) -> Any:
        h = self.linear.forward(z, keep)  # (N, 512)
        h = self.relu3.forward(h, keep)
        h = h.reshape(len(h), 32, 4, 4)
        h = self.deconv1.forward(h, keep)  # (N, 16, 7, 7)
        h = self.relu4.forward(h, keep)
        h = self.deconv2.forward(h, keep)  # (N, 1, 14, 14)
        return self.upsample.forward(h, keep)  # (N, 1, 28, 28)

    def forward(self, x: Any, eps: Any, keep: bool = False) -> tuple[Any, Any, Any]:
        logits, mu, logvar = super().forward(x, eps, keep)
        return logits.reshape(x.shape), mu, logvar  # with a channel axis if x has one

    def backward(self) -> None:
        """decode, sample and encode above, read from the last line to the first."""
        dlogits, dmu_kl, dlogvar_kl = self.loss_backward()

        dh = self.upsample.backward(dlogits.reshape(-1, 1, 28, 28))
        dh = self.deconv2.backward(dh)
        dh = self.relu4.backward(dh)
        dh = self.deconv1.backward(dh)
        dh = dh.reshape(len(dh), -1)
        dh = self.relu3.backward(dh)
        dz = self.linear.backward(dh)

        # mu and logvar reach the loss on two paths, through z and through the KL term: add both
        dmu_z, dlogvar_z = self.sample.backward(dz)
        dh = self.linear_mu.backward(dmu_kl + dmu_z)
        dh = dh + self.linear_logvar.backward(dlogvar_kl + dlogvar_z)

        dh = self.pool.backward(dh.reshape(len(dh), 32, 4, 4))
        dh = self.relu2.backward(dh)
        dh = self.conv2.backward(dh)
        dh = self.relu1.backward(dh)
        self.conv1.backward(dh, need_dx=False)  # the image needs no gradient

    def reconstruct(self, x: Any) -> Any:
        return super().reconstruct(x).reshape(x.shape)
