"""The fully connected VAE, in the size that is usual for MNIST.

    encoder   x -> fc1 -> ReLU -> h;   h -> fc_mu -> mu,   h -> fc_logvar -> logvar
    sample    z = mu + exp(logvar / 2) eps
    decoder   z -> fc2 -> ReLU -> fc3 -> logits

Source: Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), appendix C, with
ReLU and 400 hidden units, which are usual today, instead of tanh and 500.
For 28 x 28 images and 20 latent dimensions: 652,824 parameters.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..layers import Linear, ReLU
from .vae import BernoulliVAE


class MLP(BernoulliVAE):
    """Fully connected VAE with one hidden layer of 400 on each side."""

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
        made = {"rng": rng, "dtype": dtype}
        self.fc1, self.relu1 = Linear(prod(image_shape), 400, **made), ReLU()
        self.fc_mu = Linear(400, latent_dim, **made)
        self.fc_logvar = Linear(400, latent_dim, **made)
        self.fc2, self.relu2 = Linear(latent_dim, 400, **made), ReLU()
        self.fc3 = Linear(400, prod(image_shape), **made)
        self.to(dtype)

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, Any]:
        h = self.fc1.forward(x.reshape(len(x), -1), keep)  # (N, 400)
        h = self.relu1.forward(h, keep)
        return self.fc_mu.forward(h, keep), self.fc_logvar.forward(h, keep)  # (N, latent_dim) each

    def decode(self, z: Any, keep: bool = False) -> Any:
        h = self.fc2.forward(z, keep)  # (N, 400)
        h = self.relu2.forward(h, keep)
        logits = self.fc3.forward(h, keep)  # (N, C*H*W)
        return logits.reshape(len(z), *self.image_shape)

    def backward(self) -> None:
        """decode, sample and encode above, read from the last line to the first."""
        dlogits, dmu_kl, dlogvar_kl = self.loss_backward()

        dh = self.fc3.backward(dlogits.reshape(len(dlogits), -1))
        dh = self.relu2.backward(dh)
        dz = self.fc2.backward(dh)

        # mu and logvar reach the loss on two paths, through z and through the KL term: add both
        dmu_z, dlogvar_z = self.sample.backward(dz)
        dh = self.fc_mu.backward(dmu_kl + dmu_z) + self.fc_logvar.backward(dlogvar_kl + dlogvar_z)

        dh = self.relu1.backward(dh)
        self.fc1.backward(dh, need_dx=False)  # the image needs no gradient
