"""Grey levels into black and white, so that a Bernoulli decoder has a likelihood to speak of.

A Bernoulli variable is 0 or 1. A grey level fed to the cross-entropy is taken for a probability,
which trains well, but what comes out is no likelihood of the grey image (docs/elbo.md, section 3).
The literature's likelihoods of MNIST are those of images made binary, each pixel white with the
probability that its grey level names, drawn once ("static") or anew for every epoch ("dynamic").

Sources: Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks" (ICML 2008);
Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (arXiv:1509.00519), section 5.
"""

import numpy as np
from numpy.typing import NDArray

WHITE = np.uint8(255)


def binarize(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a black-and-white version of the images.

    Parameters
    ----------
    images : ndarray of uint8, any shape
        Left unchanged.
    rng : numpy.random.Generator
        Gives one byte for each pixel.

    Returns
    -------
    ndarray of uint8, shape of `images`
        0 and 255, the latter with probability byte / 255: 0 stays black and 255 white.

    Raises
    ------
    TypeError
        If `images` is not uint8.
    """
    _check_bytes("binarize", images)
    # 255 numbers, 0 to 254, of which `byte` are less than byte: the probability is exact
    white = rng.integers(0, 255, images.shape, np.uint8) < images
    return white * WHITE


def is_binary(images: NDArray[np.uint8]) -> bool:
    """Whether all pixels are 0 or 255. TypeError if `images` is not uint8."""
    _check_bytes("is_binary", images)
    return bool(((images == 0) | (images == WHITE)).all())


def _check_bytes(name: str, images: NDArray[np.uint8]) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"{name}: expected images of uint8, found {images.dtype}")
