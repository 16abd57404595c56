"""A counter-based random number generator: the same numbers on every engine, and no state.

    Philox4x32-10   four words of 32 bits from a counter of four and a key of two: ten rounds of two
                    multiplications, whose high and low halves are swapped and mixed with the key
    normal numbers  two at a time from two uniform ones, 0 < u <= 1 and 0 <= v < 1:
                    sqrt(-2 log u) cos(2 pi v)  and  sqrt(-2 log u) sin(2 pi v)

On the GPU many threads draw at once, and a replayed graph repeats everything but the counter. So
the noise of a step depends on its number alone. The key is the seed, the upper half of the counter
the step, the lower half the index of the four words.

Sources: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); Box & Muller, "A
note on the generation of random normal deviates" (1958).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import accelerated

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # the golden ratio and the square root of 3, less 1, in bits
LOW = np.uint64(0xFFFFFFFF)


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Ten rounds of Philox: counter (..., 4) and key of 32-bit words -> words (..., 4), uint32."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    half = np.uint64(32)
    for n in range(10):
        k0, k1 = (
            np.uint64((k + n * step) & 0xFFFFFFFF) for k, step in zip(key, KEY_STEPS, strict=True)
        )
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2  # 64 bits each
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & LOW, (p0 >> half) ^ c3 ^ k1, p0 & LOW
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


@accelerated
def fill_words(out, seed, step):
    """Fill `out`, uint32 (count, 4), with the words of this seed and step."""
    index = np.arange(len(out), dtype=np.uint64)
    counter = np.zeros((len(out), 4), np.uint64)
    counter[:, 0], counter[:, 1] = index & LOW, index >> 32
    counter[:, 2], counter[:, 3] = step & 0xFFFFFFFF, step >> 32
    out[...] = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))


@accelerated
def fill_normal(out, seed, step):
    """Fill `out`, float32 or float64 of any shape, with standard normal numbers.

    Parameters
    ----------
    seed, step : int
        From 0 to 2^64 - 1; in a captured graph int64 arrays of one number on the device.

    Notes
    -----
    Four words make four float32 or two float64 numbers: u and v have 32 or 53 bits. Both dtypes are
    computed in float64 and rounded once.
    """
    per_block = 4 if out.dtype == np.float32 else 2
    words = np.empty((-(-out.size // per_block), 4), np.uint32)
    fill_words(words, seed, step)
    w = words.astype(np.uint64)
    if per_block == 4:
        u, v = (w[:, 0::2] + 1.0) * 2.0**-32, w[:, 1::2] * 2.0**-32  # (blocks, 2) pairs
    else:
        bits = (w[:, 0::2] << 21) ^ (w[:, 1::2] >> 11)  # (blocks, 2) of 53 bits
        u, v = (bits[:, :1] + 1.0) * 2.0**-53, bits[:, 1:] * 2.0**-53
    radius = np.sqrt(-2 * np.log(u))
    cosine, sine = _circle(v)
    pairs = np.stack([radius * cosine, radius * sine], axis=-1)  # (blocks, pairs, 2)
    out[...] = pairs.reshape(-1)[: out.size].reshape(out.shape)


def _circle(v: np.ndarray) -> tuple[Any, Any]:
    """cos(2 pi v) and sin(2 pi v), without rounding where 2 v is a multiple of 1/2."""
    quarter = np.rint(4 * v)
    rest = (v - quarter / 4) * (2 * np.pi)  # the difference is exact
    c, s, q = np.cos(rest), np.sin(rest), quarter.astype(int) % 4
    return np.choose(q, [c, -s, -c, s]), np.choose(q, [s, c, -s, -c])
