"""safetensors: a length, a header of JSON with names, dtypes, shapes and offsets, then the data."""

import json
from functools import cache

import numpy as np
from mutating import LONGER_INTEGERS, edit, mutated
from safetensors.numpy import save

from scratchvae.layers import BatchNorm2d, Linear
from scratchvae.models.weights import load_weights
from scratchvae.module import Module

MEGABYTES = 200
DTYPES = (
    *("F64", "F32", "F16", "BF16", "I64", "U64", "I32", "U32", "I16", "U16", "I8", "U8", "BOOL"),
    *("C64", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "f32", "float32", "", "object", "O"),
)
NUMBERS = (0, 4, 12, 24, 28, 10**6, -1, *LONGER_INTEGERS)
OF_NAMES = {
    "dtype": DTYPES,
    "shape": (
        *([0], [-1, 3], [2, 3], [0, 2**62, 2**62], [2**32, 2**32], [2**31] * 4),
        *([1] * count + [3] for count in (1, 31, 32, 33, 64, 65, 1000)),
    ),
    "data_offsets": [[start, end] for start in NUMBERS for end in NUMBERS],
    "__metadata__": ({"a": "b"}, {"a": 1}, {"a": None}, {"a": "b" * 9999}, ["a"]),
}


class TwoLayers(Module):
    """The smallest model with parameters and buffers."""

    def __init__(self):
        self.fc = Linear(2, 3, rng=np.random.default_rng(0))
        self.bn = BatchNorm2d(3)


@cache
def seeds():
    state = TwoLayers().state_dict()
    doubles = {name: array.astype(np.float64) for name, array in state.items()}
    halves = {name: array.astype(np.float16) for name, array in state.items()}
    return [save(state), save(state, {"model": "x"}), save(doubles), save(halves), save({})]


def build(random):
    """A valid file with an edited header, and a header length that may be wrong."""
    content = random.choice(seeds())
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(random.choice((0, 1, 1, 2, 4))):
        edit(header, random, of_names=OF_NAMES)
    text = json.dumps(header).encode()  # writes NaN and Infinity, which are not JSON
    text = random.choice(TEXTS)(text, random)
    if random.random() < 0.2:
        text = mutated(text, random)
    if random.random() < 0.2:
        data = mutated(data, random)
    length = len(text) if random.random() < 0.8 else random.choice(LENGTHS)
    return (length % 2**64).to_bytes(8, "little") + text + data


LENGTHS = (*LONGER_INTEGERS, 100_000_000, 100_000_001, 8, 10, 300)
TEXTS = (
    *(lambda text, random: text,) * 10,
    lambda text, random: text[:-1] + b"," + text[1:],  # every key twice
    lambda text, random: text + b" " * random.randrange(1, 20),
    lambda text, random: b" " + text,
    lambda text, random: text.replace(b"{", b"[").replace(b"}", b"]"),
    lambda text, random: b"[" * random.choice((10, 127, 129, 20_000)),
    lambda text, random: b'{"a":' * random.choice((10, 127, 129, 9_000)),
    lambda text, random: text.replace(b"[", b"[" + b"9" * random.choice((20, 5000)) + b",", 1),
    lambda text, random: text.replace(b'"', b'"\xff', 1),
    lambda text, random: text.replace(b'"', b'"\\ud800', 1),
    lambda text, random: text[: random.randrange(len(text))],
    lambda text, random: b'{"__metadata__":{},' + text[1:],
)


def parser(folder):
    """A function of a file: True if it is loaded, False if it is rejected with a message."""
    model = TwoLayers()
    before = model.state_dict()

    def read(path):
        try:
            with np.errstate(all="ignore"):  # a double may be too large for a float
                load_weights(model, path)
        except ValueError as error:
            assert str(error).startswith(f"load_weights: {path} "), error
            assert all(np.array_equal(a, before[n]) for n, a in model.state_dict().items())
            return False
        after = model.state_dict()
        assert {n: (a.shape, a.dtype) for n, a in after.items()} == {
            n: (a.shape, a.dtype) for n, a in before.items()
        }
        model.load_state_dict(before)
        return True

    return read
