"""Whether z is used: posterior collapse, and pictures that go past z.

The KL term is least, zero, where q(z|x) = p(z) whatever x is. Then z tells nothing about the image,
the decoder learns to do without it, and nothing is left that would pull the encoder out again. Two
things show it: a KL of next to nothing in most dimensions, and pictures that hardly change when
noise takes the place of their codes.

Source: Bowman et al., "Generating sentences from a continuous space" (arXiv:1511.06349), section 3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import asnumpy
from ..models import Model, Skip
from ..ops import mse_forward
from .likelihood import model_batches

NEXT_TO_NOTHING = 0.01  # nats of a dimension; also a share of the images' variance
MANY = 0.9  # of the dimensions


class Effect(NamedTuple):
    """Mean squares per element, of images scaled to [0, 1]; see `effect_of_z`."""

    reconstruction: float
    with_noise_for_z: float
    change: float
    variance: float


def effect_of_z(model: Model, images: np.ndarray, rng: np.random.Generator) -> Effect:
    """Reconstruct images twice, with their own codes and with standard normal noise in their place.

    For `skip` both have the skips of the images (see `Skip.leak`).

    Returns
    -------
    Effect
        The mean squared error of either against the images, that of one against the other, and the
        images' variance: what the best single picture for all of them would err by. Where the
        change is small beside it, z hardly matters to the decoder.
    """
    (x,) = model_batches("effect_of_z", model, images, len(images))
    noise = model.noise(len(x), rng)
    own = model.reconstruct(x)
    other = model.generate(noise, x) if isinstance(model, Skip) else model.generate(noise)
    pairs = (own, x), (other, x), (own, other), (x, 0 * x + x.mean(axis=0))
    return Effect(*(mean_square(model, a, b) for a, b in pairs))


def mean_square(model: Model, a: Any, b: Any) -> float:
    """Of the differences, on the scale of images in [0, 1]."""
    low, high = model.data_range
    each = asnumpy(mse_forward(a, b)[0]).astype("float64")  # (N,)
    return float(each.mean()) / (high - low) ** 2


def collapse_warning(kl: np.ndarray, effect: Effect, skips: bool = False) -> str | None:
    """What speaks for a posterior collapse: q(z|x) = p(z) whatever x is, and a decoder without z.

    Parameters
    ----------
    kl : array
        From `kl_per_dimension`.
    effect : Effect
    skips : bool
        Whether the picture has another way than through z.

    Returns
    -------
    str or None
        None where most dimensions tell something and the pictures depend on z.
    """
    silent = kl < NEXT_TO_NOTHING
    unused = effect.change <= NEXT_TO_NOTHING * effect.variance
    seen = []
    if kl.ndim == 0 and silent:
        seen.append(f"the one mu and logvar of the whole latent grid carry {kl:.2g} nats")
    elif silent.mean() >= MANY:
        seen.append(
            f"{silent.sum()} of {kl.size} latent dimensions carry less than {NEXT_TO_NOTHING} nats "
            f"each (KL {kl[silent].sum():.2g} of {kl.sum():.2f} nats in total)"
        )
    if unused:
        seen.append(
            "z hardly changes the picture: noise in its place changes it by a mean square of "
            f"{effect.change:.2g}, where the variance of the images is {effect.variance:.2g}"
        )
    if not seen:
        return None
    if unused and skips:
        advice = "the decoder has the skips to draw from: skips='none' leaves it only z"
    elif unused or silent.all():  # a decoder may still answer to a z that tells nothing
        advice = "so looks a posterior collapse: try a smaller KL weight or a warm-up of it"
    else:
        advice = (
            "the picture does depend on z all the same; for more in it, try a smaller KL weight or "
            "a warm-up of it"
        )
    return f"{', and '.join(seen)}; {advice}"
