"""Random words and normal numbers: a thread for every four words of Philox."""

import numpy as np

from . import blocks_for, launch


def fill_words(out, seed, step):
    launch("noise", "fill_words", blocks_for(len(out)), out, *_halves(seed, step), len(out))


def fill_normal(out, seed, step):
    threads = -(-out.nbytes // 16)
    launch("noise", "fill_normal", blocks_for(threads), out, *_halves(seed, step), out.size)


def _halves(seed, step):
    """Where the step lies on the device, or null; the halves of seed and step."""
    step_at, step = (step, 0) if hasattr(step, "dtype") else (None, step)
    halves = seed & 0xFFFFFFFF, seed >> 32, step & 0xFFFFFFFF, step >> 32
    return step_at, *map(np.uint32, halves)
