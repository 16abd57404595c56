"""Random words and normal numbers: a thread for every four words of Philox."""

import numpy as np

from . import blocks_for, in_place, launch


def fill_words(out, seed, step):
    in_place(out)
    launch("philox", "fill_words", blocks_for(len(out)), out, *_counters(seed, step), len(out))


def fill_normal(out, seed, step):
    in_place(out)
    threads = -(-out.nbytes // 16)
    launch("philox", "fill_normal", blocks_for(threads), out, *_counters(seed, step), out.size)


def _counters(seed, step):
    """Where seed and step lie on the device, or null; the halves of both."""
    addresses = [n if hasattr(n, "dtype") else None for n in (seed, step)]
    numbers = [0 if hasattr(n, "dtype") else n for n in (seed, step)]
    return *addresses, *(np.uint32(n >> shift & 0xFFFFFFFF) for n in numbers for shift in (0, 32))
