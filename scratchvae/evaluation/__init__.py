"""How good a model is, and what its latent space looks like.

metrics     active units, KL by dimension, reconstruction errors, posterior collapse; a report
likelihood  the -ELBO, and -log p(x) by importance sampling
latents     codes of images, images of codes, and walks through the latent space
scales      what a KL weight means beside a sum, a mean, or a likelihood
"""

from . import latents, likelihood, metrics, scales

__all__ = ["latents", "likelihood", "metrics", "scales"]
