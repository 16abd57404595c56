"""JPEG: segments of a marker, a length and a body, with runs of compressed pixels after some."""

import io
import re
import struct
from functools import cache

import numpy as np
from fuzz_exif import tiff
from mutating import mutated
from PIL import Image

SIZES = (*range(1, 10), *range(1, 40, 7), 0, 300, 4096, 65535)
START_OF_SCAN = 0xDA


@cache
def seeds():
    noise = np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8)
    colour = Image.fromarray(noise)
    exif = b"Exif\0\0" + tiff([(0x0112, 3, 1, 6)])
    pictures = [
        (colour, {}),
        (colour, {"progressive": True, "quality": 30}),
        (colour.convert("L"), {"quality": 20}),
        (colour.convert("CMYK"), {"quality": 20}),
        (colour, {"exif": exif, "subsampling": 0, "dpi": (72, 72), "comment": b"hello"}),
        (colour.convert("L"), {"restart_marker_blocks": 1, "optimize": True}),
    ]
    return [_saved(picture, options) for picture, options in pictures]


def _saved(picture, options):
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


@cache
def segments(content):
    """[(marker, body, data until the next marker), ...] of a valid file."""
    found, at = [], 2
    while content[at + 1] != 0xD9:
        (length,) = struct.unpack_from(">H", content, at + 2)
        end = at + 2 + length
        ahead = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(content, end).start()
        found.append((content[at + 1], content[at + 4 : end], content[end:ahead]))
        at = ahead
    return tuple(found)


def build(random):
    """The segments of a valid file, some of them changed, with some foreign ones among them."""
    parts = list(segments(random.choice(seeds())))
    for _ in range(random.choice((0, 1, 1, 3))):
        at = random.randrange(len(parts))
        parts[at : at + 1] = random.choice(CHANGES)(parts[at], random)
        parts = parts or [(0xFE, b"", b"")]
    if random.random() < 0.5:
        parts = [other_size(part, random) for part in parts]
    for _ in range(random.choice((0, 0, 1, 2))):
        parts.insert(random.randrange(len(parts) + 1), stranger(random))
    return b"\xff\xd8" + b"".join(_written(part, random) for part in parts) + b"\xff\xd9"


def _written(part, random):
    marker, body, after = part
    length = len(body) + 2
    if random.random() < 0.01:
        length = random.choice((0, 1, 2, length + 1, 65535))
    return bytes((0xFF, marker)) + struct.pack(">H", length % 65536) + body[:65533] + after


def other_size(part, random):
    marker, body, after = part
    if not 0xC0 <= marker <= 0xC2 or random.random() < 0.5:
        return part
    height, width = random.choice(SIZES), random.choice(SIZES)
    return marker, body[:1] + struct.pack(">HH", height, width) + body[5:], after


def damage_the_body(part, random):
    return [(part[0], mutated(part[1], random), part[2])]


def damage_the_scan(part, random):
    return [(part[0], part[1], mutated(part[2], random))]


def repeat(part, random):
    return [part] * random.choice((2, 3, 100 if len(part[2]) < 200 else 9))


def drop(part, random):
    return []


def other_marker(part, random):
    return [(random.randrange(0xC0, 0x100), part[1], part[2])]


CHANGES = (damage_the_body, damage_the_body, damage_the_scan, repeat, drop, other_marker)


def stranger(random):
    """A segment of a kind that cameras and programs add, or of any other kind."""
    exif, picture = tiff(random=random), random.choice(seeds())
    marker, body = random.choice(
        (
            (0xE1, b"Exif\0\0" + exif),
            (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='6'>"),
            (0xE2, b"ICC_PROFILE\0" + random.randbytes(random.randrange(9))),
            (0xE2, b"MPF\0" + exif),
            (0xE0, b"JFIF\0" + random.randbytes(random.randrange(12))),
            (0xED, b"Photoshop 3.0\0" + b"8BIM" + random.randbytes(random.randrange(30))),
            (0xEE, b"Adobe\0" + random.randbytes(random.randrange(8))),
            (0xDD, random.randbytes(2)),
            (0xFE, bytes(random.choice((0, 9, 60_000)))),
            (random.randrange(0xC0, 0x100), random.randbytes(random.randrange(40))),
        )
    )
    if random.random() < 0.2:
        body = mutated(body, random)
    return marker, body, picture if random.random() < 0.05 else b""
