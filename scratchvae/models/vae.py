"""The objective of a VAE, in two forms.

    total = reconstruction + kl_weight KL(q(z|x) || N(0, I)),    mean over the batch

`BernoulliVAE`      reconstruction is the cross-entropy, summed over the pixels: nats per image
`SquaredErrorVAE`   reconstruction is the squared error, averaged over the pixels: not in nats;
                    evaluation/scales.py converts its kl_weight to other scales

In both the KL term is summed over the latent dimensions, in nats per image. `free_bits` is a floor
under the KL of each dimension (ops/kl_free_bits.py); it changes `losses.total`, not `losses.kl`.
"""

from __future__ import annotations

from typing import Any

from ..backend import check_batch
from ..layers import Reparameterize
from ..ops.bce import bce_backward, bce_forward
from ..ops.elbo import Losses, elbo_backward, elbo_forward
from ..ops.kl import kl_backward, kl_forward
from ..ops.kl_free_bits import kl_free_bits_backward, kl_free_bits_forward
from ..ops.mse import mse_backward, mse_forward
from ..ops.sigmoid import sigmoid_forward
from .base import Model


class VAE(Model):
    """Encoder, noise, decoder, loss. Subclasses set the error, write encode, decode, backward."""

    error_forward: Any  # (decoder's output, x) -> (N,), cache
    error_backward: Any

    def __init__(self, kl_weight: float, free_bits: float = 0.0) -> None:
        self.kl_weight, self.free_bits = kl_weight, free_bits
        self.sample = Reparameterize()

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, ...]:
        """mu, logvar of q(z|x): (N, *latent_shape) each."""
        raise NotImplementedError

    def decode(self, z: Any, keep: bool = False) -> Any:
        """The decoder's output, which the error compares with x: (N, *image_shape)."""
        raise NotImplementedError

    def forward(self, x: Any, eps: Any, keep: bool = False) -> tuple[Any, Any, Any]:
        """The decoder's output, mu, logvar: encode x, draw z with the noise eps, decode it."""
        mu, logvar = self.encode(x, keep)
        z = self.sample.forward(mu, logvar, eps, keep)
        return self.decode(z, keep), mu, logvar

    def loss(self, x: Any, eps: Any, keep: bool = True, kl_weight: Any = None) -> Losses:
        """As `Model.loss`. `kl_weight` (a captured graph passes an array) replaces the model's."""
        if keep:
            vars(self).pop("_cache", None)  # drop an earlier loss's caches, even if this one fails
        who, where = f"{type(self).__name__}.loss", (self.dtype, self.device)
        shapes = self.image_shape, *self.other_shapes
        check_batch(who, "x", x, shapes, *where, limits=self.data_range)
        check_batch(who, "eps", eps, [self.latent_shape], *where, N=len(x))
        beta = self.kl_weight if kl_weight is None else kl_weight
        output, mu, logvar = self.forward(x, eps, keep)
        reconstruction, error_cache = self.error_forward(output, x)  # (N,)
        kl, kl_cache = kl_forward(mu, logvar)  # (N,) nats
        losses, elbo_cache = elbo_forward(reconstruction, kl, beta)
        if self.free_bits:  # training minimises a KL term with a floor; losses.kl is without it
            floored, kl_cache = kl_free_bits_forward(mu, logvar, self.free_bits)  # (N,) nats
            objective, elbo_cache = elbo_forward(reconstruction, floored, beta)
            losses = losses._replace(total=objective.total)
        cache = (error_cache, kl_cache, elbo_cache, self.free_bits)
        return self._keep((losses, cache), keep)

    def loss_backward(self) -> tuple[Any, Any, Any]:
        """doutput, and the gradients that reach mu and logvar directly from the KL term."""
        error_cache, kl_cache, elbo_cache, free_bits = self._kept()
        dreconstruction, dkl = elbo_backward(1.0, elbo_cache)
        kl_term_backward = kl_free_bits_backward if free_bits else kl_backward
        dmu_kl, dlogvar_kl = kl_term_backward(dkl, kl_cache)
        doutput = self.error_backward(dreconstruction, error_cache)
        return doutput, dmu_kl, dlogvar_kl

    def embed(self, x: Any) -> Any:
        self._check_images("embed", x)
        with self.evaluating():
            return self.encode(x)[0]


class BernoulliVAE(VAE):
    """A VAE whose decoder gives the logits of one Bernoulli variable per pixel. Its objective is
    the -ELBO in nats per image, with the KL term weighted by `kl_weight` (beta)."""

    decoder_distribution = "Bernoulli"
    error_forward, error_backward = staticmethod(bce_forward), staticmethod(bce_backward)

    @property
    def loss_unit(self) -> str:
        return "nats per image"

    def generate(self, z: Any) -> Any:
        self._check_codes(z)
        with self.evaluating():
            return sigmoid_forward(self.decode(z))[0]


class SquaredErrorVAE(VAE):
    """A VAE whose decoder gives the image itself. The mean squared error is -log p(x|z) of a
    Gaussian decoder, up to a factor and a constant."""

    decoder_distribution = "Gaussian"
    error_forward, error_backward = staticmethod(mse_forward), staticmethod(mse_backward)

    @property
    def loss_unit(self) -> str:
        """Names the range: values from -1 to 1 have four times the error of values from 0 to 1."""
        low, high = self.data_range
        return f"mean squared error, values {low:g} to {high:g}"

    def generate(self, z: Any) -> Any:
        self._check_codes(z)
        with self.evaluating():
            return self.decode(z)
