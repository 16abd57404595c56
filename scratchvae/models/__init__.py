"""The models, one file each, found by name: `build("conv", latent_dim=20, seed=0)`."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from .ae import AE
from .base import Model
from .celeba import CelebA
from .conv import Conv
from .mlp import MLP
from .skip import Skip
from .tiny import Tiny
from .vae import VAE, BernoulliVAE, SquaredErrorVAE

MODELS: dict[str, Callable[..., Model]] = {
    "mlp": MLP,
    "conv": Conv,
    "tiny": Tiny,
    "celeba": CelebA,
    "skip": Skip,
    "ae": AE,
}

__all__ = [
    "AE", "MLP", "MODELS", "VAE", "BernoulliVAE", "CelebA", "Conv", "Model", "Skip",
    "SquaredErrorVAE", "Tiny", "build",
]  # fmt: skip


def build(name: str, *, seed: int = 0, dtype: str = "float32", **options: Any) -> Model:
    """A model with freshly drawn weights.

    Parameters
    ----------
    name : {"mlp", "conv", "tiny", "celeba", "skip", "ae"}
        See the file of that name in scratchvae/models/.
    seed : int
        Seed of the weights, which are equal in float32 and float64 up to rounding.
    dtype : {"float32", "float64"}
        Of the parameters.
    **options
        image_shape; latent_dim (not for `skip`, where image_shape determines the latent grid);
        kl_weight and free_bits (in nats per dimension) for models with a KL term; skips and latent
        (for `skip` only).

    Raises
    ------
    ValueError
        For an unknown name, dtype or option; the message lists the known ones.
    """
    if name not in MODELS:
        raise ValueError(f"build: unknown model {name!r}; there are {', '.join(MODELS)}")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"build: dtype must be 'float32' or 'float64', got {dtype!r}")
    known = [p for p in signature(MODELS[name]).parameters if p not in ("rng", "dtype")]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"build: model {name!r} has no option {', '.join(unknown)}; it has {', '.join(known)}"
        )
    _check_options(**options)
    # not default_rng(seed): callers may draw images and noise from that
    return MODELS[name](rng=np.random.default_rng([seed, 2]), dtype=dtype, **options)


def _check_options(
    latent_dim: Any = 1,
    image_shape: Any = (1, 1, 1),
    kl_weight: Any = 1.0,
    free_bits: Any = 0.0,
    **_: Any,
) -> None:
    """Check that sizes are ints above zero, and KL weight and free bits numbers of at least 0."""
    if not isinstance(image_shape, tuple | list) or len(image_shape) != 3:
        raise ValueError(f"build: image_shape must be (C, H, W), got {image_shape!r}")
    for name, size in (("latent_dim", latent_dim), *(("image_shape", n) for n in image_shape)):
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise ValueError(f"build: {name} must be an int of at least 1, got {size!r}")
    for name, value in (("kl_weight", kl_weight), ("free_bits", free_bits)):
        number = isinstance(value, int | float | np.integer | np.floating)
        if not (number and 0 <= value < float("inf")):
            raise ValueError(f"build: {name} must be a number of at least 0, got {value!r}")
