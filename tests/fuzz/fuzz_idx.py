"""IDX: headers that do not match the data, plain and inside a valid gzip stream."""

import gzip
import math
import struct
from functools import cache

from mutating import INTEGERS, mutated

from scratchvae.data import read_idx
from scratchvae.data.idx import MAX_BYTES

MEGABYTES = 200


def idx(sizes, data, zeros=0, type_code=8, ndim=None):
    """An IDX file, possibly with a wrong header."""
    ndim = len(sizes) if ndim is None else ndim
    return struct.pack(f">HBB{len(sizes)}I", zeros, type_code, ndim, *sizes) + data


@cache
def seeds():
    plain = [idx((2, 3, 4), bytes(range(24))), idx((5,), bytes(5)), idx((1, 2, 1, 3), bytes(6))]
    return plain + [gzip.compress(content, mtime=0) for content in plain]


def build(random):
    """A header with wrong values, data of the right or of a wrong length, sometimes gzipped."""
    sizes = [random.randrange(1, 5) for _ in range(random.randrange(1, 6))]
    promised = math.prod(sizes)
    if random.random() < 0.4:
        sizes[random.randrange(len(sizes))] = random.choice((*INTEGERS, MAX_BYTES, MAX_BYTES + 1))
    code = random.choice((8, 8, 8, 8, 9, 13, random.randrange(256)))
    ndim = random.choice((None, None, None, random.randrange(256)))
    content = idx(sizes, random.randbytes(promised), random.choice((0, 0, 0, 1)), code, ndim)
    content = mutated(content, random, seeds()[:3])
    if random.random() < 0.02:
        content += bytes(1_000_000)  # one kilobyte, once compressed
    if random.random() < 0.6 or len(content) > 999_999:
        level = random.choice((0, 1, 9)) if len(content) < 99 else 9
        content = gzip.compress(content, level, mtime=0)
    return content * random.choice((1, 1, 1, 1, 2))  # gzip allows several members


def parser(folder):
    """A function of a file: True if it is read, False if it is rejected with a message."""

    def read(path):
        try:
            array = read_idx(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: "), error
            return False
        assert array.dtype == "uint8" and 1 <= array.ndim <= 4 and 0 < array.size <= MAX_BYTES
        return True

    return read
