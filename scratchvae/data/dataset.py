"""What a training run needs to know about its pictures: five fields, and nothing clever."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: grey pictures and the class each one shows.

    A variational autoencoder never looks at the labels. They are kept to colour the plots of the
    latent space afterwards.

    Attributes
    ----------
    name : str
        ``"mnist"``, ``"fashion-mnist"`` or ``"glyphs"``.
    train_images, test_images : ndarray of uint8, shape (N, 28, 28)
        Black is 0 and white is 255.
    train_labels, test_labels : ndarray of uint8, shape (N,)
        Classes 0 to 9.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]
