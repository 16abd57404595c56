"""How good a model is, and what its latent space looks like.

metrics     active units, KL by dimension, reconstruction error, posterior collapse; a report
likelihood  the -ELBO, and -log p(x) by importance sampling
latents     codes of images, images of codes, and paths through the latent space
scales      KL weights for the sum or the mean of the squared error, or a likelihood
"""

from . import latents, likelihood, metrics, scales

__all__ = ["latents", "likelihood", "metrics", "scales"]
