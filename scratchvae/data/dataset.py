"""What a training run needs to know about its pictures: five fields, and nothing clever."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROWS = 1024  # pictures hashed at a time


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, in memory or mapped from disk: pictures, and their classes where there are any.

    A variational autoencoder never looks at the labels. They are kept to colour the plots of the
    latent space afterwards.

    Attributes
    ----------
    name : str
        ``"mnist"``, ``"fashion-mnist"``, ``"glyphs"``, ``"celeba"``, ``"faces"`` or
        ``"images:FOLDER"``.
    train_images, test_images : ndarray of uint8, shape (N, H, W) or (N, C, H, W)
        Grey or in colour; black is 0 and white is 255.
    train_labels, test_labels : ndarray of uint8, shape (N,), or None
        Classes 0 to 9, or None for a data set without classes.
    """

    name: str
    train_images: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8] | None = None
    test_labels: NDArray[np.uint8] | None = None

    def digest(self) -> str:
        """What the pictures are, in 64 characters: two data sets with the same are the same.

        Returns
        -------
        str
            SHA-256 in hexadecimal of the dtype, shape and bytes of the images for training and for
            testing. Labels do not count, no model sees them; nor does the name, which may be that
            of a folder.
        """
        digest = hashlib.sha256()
        for images in (self.train_images, self.test_images):
            digest.update(repr((str(images.dtype), images.shape)).encode())
            for start in range(0, len(images), ROWS):  # what is mapped from disk may fill it
                digest.update(np.ascontiguousarray(images[start : start + ROWS]).data)
        return digest.hexdigest()
