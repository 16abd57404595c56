"""PNG: chunks of a length, a kind, a body and a checksum, which is always valid here."""

import io
import struct
import zlib
from functools import cache

import numpy as np
from fuzz_exif import tiff
from mutating import LONGER_INTEGERS, mutated
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIZES = (*range(1, 10), *range(1, 10), 0, 300, 4096, 8192, 8193, 65535, 2**20, 2**31 - 1, 2**32 - 1)
KINDS = (
    *(b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf"),
    *(b"pHYs", b"tIME", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IHDR", b"IEND", b"bKGD", b"sBIT"),
    *(b"\0\0\0\0", b"abcd", b"ABCD"),
)


def chunk(kind, body, length=None):
    length = len(body) if length is None else length
    return struct.pack(">I", length) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def ihdr(width, height, depth=8, colour=2, *rest):
    return chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *(rest or (0,) * 3))
    )


@cache
def bomb():
    """30 MB of zeros."""
    return zlib.compress(bytes(30_000_000), 9)


@cache
def seeds():
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    colour = Image.fromarray(noise[..., :3])
    pictures = [
        (colour, {}),
        (Image.fromarray(noise), {}),
        (colour.convert("L"), {}),
        (colour.convert("1"), {}),
        (colour.convert("LA"), {}),
        (colour.quantize(16), {"transparency": 3}),
        (Image.fromarray(noise[..., 0].astype(np.uint16) * 256), {}),
        (colour, {"exif": b"Exif\0\0" + tiff([(0x0112, 3, 1, 6)]), "dpi": (72, 72)}),
        (colour, {"save_all": True, "append_images": [colour.rotate(90)], "duration": 20}),
    ]
    return [_saved(picture, options) for picture, options in pictures]


def _saved(picture, options):
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def chunks(content):
    """[(kind, body), ...] of a valid file."""
    found, at = [], len(SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def build(random):
    """The chunks of a valid file, some of them changed, with some foreign ones among them."""
    parts = chunks(random.choice(seeds()))
    if random.random() < 0.5:
        parts = [
            random.choice(CHANGES.get(kind, (same,)))((kind, body), random) for kind, body in parts
        ]
    for _ in range(random.choice((0, 0, 1, 3))):
        stranger = random.choice(KINDS)
        at = random.randrange(1, len(parts) + 1)
        parts[at:at] = [(stranger, body_of(stranger, random))] * random.choice((1, 1, 1, 50))
    if random.random() < 0.1:
        random.shuffle(parts)
    lies = random.random() < 0.1
    return SIGNATURE + b"".join(
        chunk(
            kind,
            body,
            random.choice(LONGER_INTEGERS) % 2**32 if lies and not random.randrange(3) else None,
        )
        for kind, body in parts
    )


def same(part, random):
    return part


def other_size(part, random):
    kind, body = part
    width, height = random.choice(SIZES), random.choice(SIZES)
    return kind, struct.pack(">II", width, height) + body[8:]


def other_mode(part, random):
    kind, body = part
    mode = random.choice((1, 2, 4, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 1)), 0, 0
    return kind, body[:8] + bytes((*mode, random.choice((0, 1, 2))))


def other_pixels(part, random):
    kind, body = part
    try:
        raw = zlib.decompress(body)
    except zlib.error:  # a chunk of IDAT that begins in the middle
        return part
    return kind, zlib.compress(mutated(raw, random))


def damaged(part, random):
    return part[0], mutated(part[1], random)


def exploding(part, random):
    return part[0], bomb()


CHANGES = {
    b"IHDR": (same, other_size, other_size, other_mode, other_mode, damaged),
    b"IDAT": (same, other_pixels, other_pixels, damaged, exploding),
    b"PLTE": (same, damaged),
    b"tRNS": (same, damaged),
    b"eXIf": (same, damaged),
    b"acTL": (same, damaged),
    b"fcTL": (same, damaged),
    b"fdAT": (same, damaged, exploding),
}


def body_of(kind, random):
    """A valid or invalid body for a chunk of this kind."""
    packed = random.choice((bomb(), zlib.compress(b"text"), random.randbytes(9)))
    usual = {
        b"iCCP": b"name\0\0" + packed,
        b"zTXt": b"key\0" + bytes([random.choice((0, 0, 1))]) + packed,
        b"iTXt": b"key\0" + bytes([random.choice((0, 1, 1)), 0]) + b"en\0key\0" + packed,
        b"tEXt": b"key\0" + b"text" * random.choice((1, 1000)),
        b"eXIf": tiff(random=random),
        b"acTL": struct.pack(">II", random.choice(SIZES), 0),
        b"fcTL": struct.pack(
            ">IIIIIHHBB", *(random.choice(SIZES) for _ in range(5)), 1, 1, *random.randbytes(2)
        ),
        b"fdAT": struct.pack(">I", random.randrange(3)) + packed,
        b"IDAT": packed,
    }.get(kind)
    if usual is None:
        return random.randbytes(random.choice((0, 1, 2, 3, 4, 6, 7, 9, 13, 256, 768, 769)))
    return usual if random.random() < 0.7 else mutated(usual, random)
