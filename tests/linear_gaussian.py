"""A VAE whose likelihood has a closed form: both its decoder and its encoder are linear.

z ~ N(0, I),  x|z ~ N(W z + b, sigma^2 I)   =>   x ~ N(b, W W^T + sigma^2 I)
z|x ~ N(V W^T (x - b) / sigma^2, V),  V = (I + W^T W / sigma^2)^-1,  diagonal if W^T W is
"""

import numpy as np

from scratchvae.evaluation.scales import loss_scales
from scratchvae.models import SquaredErrorVAE
from scratchvae.module import Param

SIGMA = 0.3


class LinearGaussian(SquaredErrorVAE):
    """`off` shifts mu and multiplies the deviation of q(z|x); (0, 1) gives the exact posterior."""

    def __init__(self, pixels=6, latent=2, off=(0.0, 1.0), sigma=SIGMA):
        super().__init__(kl_weight=loss_scales(pixels, beta=1, sigma=sigma).mean)
        self.image_shape, self.latent_shape = (1, 1, pixels), (latent,)
        rng = np.random.default_rng(0)
        orthogonal = np.linalg.qr(rng.standard_normal((pixels, latent)))[0]  # so W^T W is diagonal
        self.weight = Param(orthogonal * rng.uniform(0.3, 0.6, latent))
        self.bias = Param(rng.uniform(0.4, 0.6, pixels))
        self.to("float64")
        self.sigma, (self.shift, self.stretch) = sigma, off

    def encode(self, x, keep=False):
        W, b = self.weight.value, self.bias.value
        variance = 1 / (1 + (W**2).sum(axis=0) / self.sigma**2)
        mu = (x.reshape(len(x), -1) - b) @ W * variance / self.sigma**2 + self.shift
        return mu, np.broadcast_to(np.log(variance * self.stretch**2), mu.shape)

    def decode(self, z, keep=False):
        return (z @ self.weight.value.T + self.bias.value).reshape(len(z), *self.image_shape)

    def nll(self, images):
        """The exact -log p(x) of each uint8 image (N, 1, 1, pixels)."""
        x = images.reshape(len(images), -1) / 255 - self.bias.value
        covariance = self.weight.value @ self.weight.value.T
        covariance += self.sigma**2 * np.eye(x.shape[1])
        quadratic = (x * np.linalg.solve(covariance, x.T).T).sum(axis=1)
        return 0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * covariance)[1])


def images(n, pixels=6):
    return np.random.default_rng(1).integers(0, 256, (n, 1, 1, pixels), np.uint8)
