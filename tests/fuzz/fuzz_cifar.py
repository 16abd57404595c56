"""Batches of CIFAR-10: pickles, which are never unpickled, and binary rows."""

import pickle
from functools import cache

import numpy as np
from mutating import mutated

from scratchvae.data.cifar import read_batch

MEGABYTES = 200


@cache
def seeds():
    images = np.arange(3 * 3072, dtype="u1").reshape(3, 3072)
    pickles = [
        pickle.dumps({key("data"): images, key("labels"): [1, 2, 9]}, protocol)
        for protocol in (2, 3, 4, 5)
        for key in (str, str.encode)
    ]
    return [*pickles, np.hstack([np.array([[1], [2], [9]], "u1"), images]).tobytes()]


def build(random):
    """A valid batch with damage near its start or its end, where a pickle has its instructions."""
    content = random.choice(seeds())
    if random.random() < 0.1:
        return content
    at = random.choice((200, len(content) - 200))
    head, tail = content[:at], content[at:]
    if at == 200:
        return mutated(head, random, seeds()) + tail
    return head + mutated(tail, random, seeds())


def parser(folder):
    """A function of a file: True if it is read, False if it is rejected with a message."""

    def read(path):
        try:
            images, labels = read_batch(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: expected a batch") and "\n" not in str(error)
            return False
        assert images.shape == (len(labels), 3, 32, 32) and images.dtype == labels.dtype == "uint8"
        assert len(labels) and labels.max() <= 9
        return True

    return read
