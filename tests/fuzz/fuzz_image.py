"""Photographs: PNG chunks and JPEG segments with valid lengths and sums, and wrong content.

A file is a list of parts (kind, body, data behind it). Some are changed, foreign ones are added.
"""

import io
import re
import struct
import warnings
import zlib
from functools import cache

import numpy as np
from mutating import INTEGERS, LONGER_INTEGERS, mutated
from PIL import Image

from scratchvae.data.decode import decode_or_reason
from scratchvae.data.options import image_options

MEGABYTES = 2000  # of address space: 64 megapixels with transparency take 1.3 GB
SIGNATURE = b"\x89PNG\r\n\x1a\n"
WIDTHS = (*range(1, 10), *range(1, 40, 7), 0, 300, 4096, 8192, 8193, 65535, 2**20, 2**31, 2**32 - 1)
CHUNKS = (
    *(b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf"),
    *(b"pHYs", b"tIME", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IHDR", b"IEND", b"bKGD", b"sBIT"),
    *(b"\0\0\0\0", b"abcd", b"ABCD"),
)
TAGS = (0x0112, 0x0112, 0x011A, 0x010E, 0x8769, 0x8825, 0xA005, 0x0201, 0x927C, 0x02BC)
UPRIGHT = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6


def exif(random):
    """A TIFF header and a directory of entries, of which Pillow reads the orientation."""
    order, count = random.choice("<>"), random.randrange(5)
    block = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, count)
    for _ in range(count):
        tag = random.choice((*TAGS, random.randrange(2**16)))
        kind = random.choice((3, *range(14), random.randrange(2**16)))
        length = random.choice((1, 1, 2, *INTEGERS))
        value = random.choice((*range(10), *INTEGERS))  # the offset 8 points back to the directory
        block += struct.pack(f"{order}HHII", tag, kind, length, value)
    block += struct.pack(f"{order}I", random.choice((0, 0, 8, 2**32 - 1)))
    return random.choice((block, block, UPRIGHT, mutated(block, random)))


@cache
def bomb():
    """30 MB of zeros."""
    return zlib.compress(bytes(30_000_000), 9)


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@cache
def png_seeds():
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    colour = Image.fromarray(noise[..., :3])
    pages = {"save_all": True, "append_images": [colour.rotate(90)], "duration": 20}
    return [
        *(saved(colour.convert(mode), "PNG") for mode in ("RGB", "RGBA", "L", "1", "LA")),
        saved(Image.fromarray(noise), "PNG"),
        saved(colour.quantize(16), "PNG", transparency=3),
        saved(Image.fromarray(noise[..., 0].astype(np.uint16) * 256), "PNG"),
        saved(colour, "PNG", exif=b"Exif\0\0" + UPRIGHT, dpi=(72, 72)),
        saved(colour, "PNG", **pages),
    ]


@cache
def jpeg_seeds():
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8))
    grey, block = colour.convert("L"), b"Exif\0\0" + UPRIGHT
    return [
        saved(colour, "JPEG"),
        saved(colour, "JPEG", progressive=True, quality=30),
        saved(grey, "JPEG", quality=20),
        saved(colour.convert("CMYK"), "JPEG", quality=20),
        saved(colour, "JPEG", exif=block, subsampling=0, dpi=(72, 72), comment=b"hello"),
        saved(grey, "JPEG", restart_marker_blocks=1, optimize=True),
    ]


def seeds():
    return png_seeds() + jpeg_seeds()


def chunks(content):
    """The parts of a PNG file."""
    at = len(SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length], b""
        at += 12 + length


def segments(content):
    """The parts of a JPEG file, some with compressed pixels behind them."""
    at = 2
    while content[at + 1] != 0xD9:
        (length,) = struct.unpack_from(">H", content, at + 2)
        end = at + 2 + length
        following = re.compile(rb"\xff[^\x00\xd0-\xd7]").search(content, end).start()
        yield content[at + 1 : at + 2], content[at + 4 : end], content[end:following]
        at = following


def chunk(kind, body, behind, length=None):
    length = len(body) if length is None else length % 2**32
    return struct.pack(">I", length) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(kind, body, behind, length=None):
    length = len(body) + 2 if length is None else length
    return b"\xff" + kind + struct.pack(">H", length % 2**16) + body[:65533] + behind


def build(random):
    png = random.random() < 0.5
    content = random.choice(png_seeds() if png else jpeg_seeds())
    parts = list(chunks(content) if png else segments(content))
    for _ in range(random.choice((0, 1, 1, 3))):
        at = random.randrange(len(parts))
        parts[at : at + 1] = changed(parts[at], random, png)
        parts = parts or [(b"IEND", b"", b"")]
    if random.random() < 0.5:
        parts = [other_header(part, random) for part in parts]
    for _ in range(random.choice((0, 0, 1, 3))):
        stranger = strange_chunk(random) if png else strange_segment(random)
        at = random.randrange(png, len(parts) + 1)
        parts[at:at] = [stranger] * random.choice((1, 1, 1, 50))
    if png and random.random() < 0.1:
        random.shuffle(parts)
    lies = 0.3 if random.random() < 0.1 else 0
    lengths = [random.choice(LONGER_INTEGERS) if random.random() < lies else None for _ in parts]
    write = chunk if png else segment
    content = b"".join(write(*part, length) for part, length in zip(parts, lengths, strict=True))
    return SIGNATURE + content if png else b"\xff\xd8" + content + b"\xff\xd9"


def changed(part, random, png):
    """The parts that replace one."""
    kind, body, behind = part
    what = random.choice(("body", "body", "pixels", "pixels", "repeat", "drop", "kind"))
    if what == "body":
        return [(kind, mutated(body, random), behind)]
    if what == "pixels" and kind in (b"IDAT", b"fdAT"):
        return [(kind, random.choice((other_pixels(body, random), bomb())), b"")]
    if what == "pixels":
        return [(kind, body, mutated(behind, random))]
    if what == "repeat":
        return [part] * random.choice((2, 3, 100 if len(behind) < 200 else 9))
    if what == "drop":
        return []
    return [(random.choice(CHUNKS) if png else random.randbytes(1), body, behind)]


def other_pixels(body, random):
    try:
        return zlib.compress(mutated(zlib.decompress(body), random))
    except zlib.error:  # damaged before, or a sequence number in front
        return mutated(body, random)


def other_header(part, random):
    """Another size, or for PNG another depth and kind of colour, if the part has them."""
    kind, body, behind = part
    width, height = random.choice(WIDTHS), random.choice(WIDTHS)
    if kind == b"IHDR" and random.random() < 0.6:
        body = struct.pack(">II", width, height) + body[8:]
    elif kind == b"IHDR":
        mode = random.choice((1, 2, 4, 8, 16, 3)), random.choice((0, 2, 3, 4, 6, 1))
        body = body[:8] + bytes((*mode, 0, 0, random.choice((0, 1, 2))))
    elif kind in (b"\xc0", b"\xc1", b"\xc2"):
        body = body[:1] + struct.pack(">HH", height % 2**16, width % 2**16) + body[5:]
    return kind, body, behind


def strange_chunk(random):
    """A chunk with a valid or an invalid body."""
    packed = random.choice((bomb(), zlib.compress(b"text"), random.randbytes(9)))
    sizes = [random.choice(WIDTHS) for _ in range(5)]
    usual = {
        b"iCCP": b"name\0\0" + packed,
        b"zTXt": b"key\0" + bytes([random.choice((0, 0, 1))]) + packed,
        b"iTXt": b"key\0" + bytes([random.choice((0, 1, 1)), 0]) + b"en\0key\0" + packed,
        b"tEXt": b"key\0" + b"text" * random.choice((1, 1000)),
        b"eXIf": exif(random),
        b"acTL": struct.pack(">II", sizes[0], 0),
        b"fcTL": struct.pack(">IIIIIHHBB", *sizes, 1, 1, *random.randbytes(2)),
        b"fdAT": struct.pack(">I", random.randrange(3)) + packed,
        b"IDAT": packed,
    }
    kind = random.choice(CHUNKS)
    body = usual.get(kind) or random.randbytes(random.choice((0, 1, 2, 3, 4, 7, 9, 13, 256, 769)))
    return kind, body if random.random() < 0.7 else mutated(body, random), b""


def strange_segment(random):
    """A segment of a kind that cameras and programs add, or of any other kind."""
    some = random.randbytes(random.randrange(30))
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation='6'>"
    usual = (
        (b"\xe1", b"Exif\0\0" + exif(random)),
        (b"\xe1", xmp),
        (b"\xe2", b"ICC_PROFILE\0" + some),
        (b"\xe2", b"MPF\0" + exif(random)),
        (b"\xe0", b"JFIF\0" + some),
        (b"\xed", b"Photoshop 3.0\x008BIM" + some),
        (b"\xee", b"Adobe\0" + some),
        (b"\xdd", random.randbytes(2)),
        (b"\xfe", bytes(random.choice((0, 9, 60_000)))),
        (bytes([random.randrange(0xC0, 0x100)]), some),
    )
    kind, body = random.choice(usual)
    body = body if random.random() < 0.8 else mutated(body, random)
    return kind, body, random.choice(jpeg_seeds()) if random.random() < 0.05 else b""


def parser(folder):
    """A function of a file: True if it is decoded, False if there is a message why not."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as decode_all does

    def read(path):
        result = decode_or_reason(str(path), image_options(4, crop=3))
        if isinstance(result, str):
            assert result and len(result) < 1000, result
            return False
        assert result.shape == (3, 4, 4) and result.dtype == "uint8" and result.flags.c_contiguous
        return True

    return read
