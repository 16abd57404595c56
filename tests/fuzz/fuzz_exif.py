"""EXIF: a TIFF header and a directory of entries, of which Pillow reads the orientation."""

import struct

from mutating import INTEGERS, mutated

TAGS = (0x0112, 0x0112, 0x011A, 0x010E, 0x8769, 0x8825, 0xA005, 0x0201, 0x927C, 0x02BC)


def tiff(entries=None, random=None):
    """A block with these entries (tag, type, count, value), or with entries drawn at random."""
    if entries is not None:
        return _block(">", entries)
    entries = [
        (
            random.choice((*TAGS, random.randrange(2**16))),
            random.choice((*range(14), random.randrange(2**16))),
            random.choice((1, 1, 2, *INTEGERS)),
            random.choice((*range(10), *INTEGERS)),  # the offset 8 points back to the directory
        )
        for _ in range(random.randrange(5))
    ]
    following = random.choice((0, 0, 8, 2**32 - 1))
    block = _block(random.choice("<>"), entries, following)
    return block if random.random() < 0.5 else mutated(block, random)


def _block(order, entries, following=0):
    mark = b"MM" if order == ">" else b"II"
    block = mark + struct.pack(f"{order}HIH", 42, 8, len(entries))
    for tag, kind, count, value in entries:
        short = kind == 3 and count == 1  # a 16-bit value is in the first two of its four bytes
        last = (
            struct.pack(f"{order}HH", value % 2**16, 0)
            if short
            else struct.pack(f"{order}I", value)
        )
        block += struct.pack(f"{order}HHI", tag, kind, count) + last
    return block + struct.pack(f"{order}I", following)
