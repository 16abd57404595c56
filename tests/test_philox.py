"""Counter-based noise: Philox's words are exact, normal numbers equal up to rounding."""

import numpy as np
import pytest
from harness import on_device

import scratchvae as sv
from scratchvae.gpu.philox import fill_normal, fill_words, philox4x32

# From the known answers of Random123 1.14: counter, key, words.
KNOWN = [
    ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (0xFFFFFFFF, 0xFFFFFFFF), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        (0xA4093822, 0x299F31D0),
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]
LARGE = 2**40 + 12345  # a step and a seed with nonzero bits in both halves


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter, key, words):
    assert philox4x32(np.array(counter, np.uint64), key).tolist() == words


def words(count, seed, step):
    out = on_device(np.zeros((count, 4), np.uint32))
    fill_words(out, seed, step)
    return sv.asnumpy(out)


def normal(shape, dtype, seed=LARGE, step=7):
    out = on_device(np.full(shape, np.nan, dtype))
    fill_normal(out, seed, step)
    return sv.asnumpy(out)


def test_words_are_the_same_on_every_engine(engine):
    """The counter is index, 0, step, step >> 32; the key consists of the halves of the seed."""
    ours = words(300, LARGE, 3 * LARGE)
    halves = [3 * LARGE & 0xFFFFFFFF, 3 * LARGE >> 32]
    counter = np.array([[index, 0, *halves] for index in range(300)], np.uint64)
    assert (ours == philox4x32(counter, (LARGE & 0xFFFFFFFF, LARGE >> 32))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 7, 11), (1023,)])
def test_normal_numbers_are_the_same_on_every_engine(engine, dtype, shape):
    """Up to 2 units in the last place; a count that is not a multiple of four writes no more."""
    ours, expected = normal(shape, dtype), np.empty(shape, dtype)
    fill_normal(expected, LARGE, 7)
    assert (np.abs(ours - expected) <= 2 * np.spacing(np.abs(expected))).all()


def test_a_step_on_the_device_counts_as_one_of_the_host(engine):
    """A graph reads the step when it runs, so each replay draws other numbers."""
    step = on_device(np.array([LARGE]))[0] if engine.startswith("cuda") else LARGE
    out = on_device(np.zeros(64))
    fill_normal(out, 5, step)
    assert (sv.asnumpy(out) == normal((64,), "float64", 5, LARGE)).all()
    assert (words(8, 5, LARGE) != words(8, 5, LARGE & 0xFFFFFFFF)).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_they_are_standard_normal(dtype):
    """Moments of 400,000 numbers, within five standard errors; hardly any number occurs twice."""
    x = normal((400_000,), dtype).astype("float64")
    n = len(x)
    assert abs(x.mean()) < 5 / n**0.5
    assert abs((x**2).mean() - 1) < 5 * (2 / n) ** 0.5
    assert abs((x**3).mean()) < 5 * (15 / n) ** 0.5
    assert abs((x**4).mean() - 3) < 5 * (96 / n) ** 0.5
    neighbours = [(x[k:] * x[: n - k]).mean() for k in (1, 2, 4)]
    assert np.abs(neighbours).max() < 5 / n**0.5
    assert len(np.unique(x)) > 0.99 * n
    assert np.isfinite(x).all()


def test_every_seed_and_step_has_noise_of_its_own():
    drawn = [
        normal((8,), "float64", seed, step) for seed in (0, 1, 2**32) for step in (0, 1, 2**32)
    ]
    assert len({a.tobytes() for a in drawn}) == len(drawn)
