"""decode: Pillow's pixels for every way of storing them; decode_all: in order, on threads."""

import struct
import threading
import time
import zlib

import numpy as np
import pytest
from hostile import bounded, pipe, sparse
from photographs import values, write_grey, write_photograph
from PIL import Image

from scratchvae.data import decode as module
from scratchvae.data.decode import MAX_PIXELS, decode_all, decode_or_reason
from scratchvae.data.options import image_options


def decode(path, options):
    """The pixels of a file."""
    pixels = decode_or_reason(path, options)
    assert isinstance(pixels, np.ndarray), pixels
    return pixels


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(
    ("width", "height", "size", "crop", "box"),
    [
        (178, 218, 16, 148, (15, 35, 163, 183)),  # CelebA; as torchvision's CenterCrop
        (178, 218, 16, None, (0, 20, 178, 198)),
        (178, 218, 16, 200, (0, 20, 178, 198)),
        (22, 10, 16, 7, (8, 2, 15, 9)),
        (10, 21, 16, 99, (0, 6, 10, 16)),
        (8, 8, 16, 8, (0, 0, 8, 8)),
        *((30, 20, (8, 8), crop, (5, 0, 25, 20)) for crop in (None, "center")),
        *((30, 20, (8, 4), crop, (10, 0, 20, 20)) for crop in (None, "center")),
        *((30, 20, (3, 9), crop, (0, 5, 30, 15)) for crop in (None, "center")),
        *((30, 20, size, "none", (0, 0, 30, 20)) for size in ((8, 8), (8, 4), (3, 9))),
    ],
)
def test_crops_and_resizes_as_pillow_does(tmp_path, suffix, width, height, size, crop, box):
    path = tmp_path / f"photograph{suffix}"
    write_photograph(path, 0, width, height)
    H, W = size if isinstance(size, tuple) else (size, size)
    with Image.open(path) as image:
        expected = image.crop(box).resize((W, H), Image.Resampling.BILINEAR)
    result = decode(str(path), image_options(size, crop=crop))
    assert result.dtype == np.uint8 and result.flags.c_contiguous
    np.testing.assert_array_equal(result, np.moveaxis(np.asarray(expected), 2, 0))


def palette(alpha):
    image = Image.new("P", (5, 5), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    return image, {"transparency": alpha}


def sixteen(value, mode="uint16"):
    return Image.fromarray(np.full((5, 5), value, mode))


RED, CLEAR = Image.new("RGB", (5, 5), (200, 0, 0)), Image.new("RGBA", (5, 5), (200, 0, 0, 0))


def pages(**options):
    """Save a second image behind the first."""
    second = Image.new("RGB", (5, 5), (0, 0, 200))
    return {"save_all": True, "append_images": [second]} | options


# A file name, the image, what `save` needs, and the colour.
KINDS = {
    "colour": ("x.png", RED, {}, (200, 0, 0)),
    "grey": ("x.png", Image.new("L", (5, 5), 77), {}, (77, 77, 77)),
    "black and white": ("x.png", Image.new("1", (5, 5), 1), {}, (255, 255, 255)),
    "16 bits": ("x.png", sixteen(77 * 256 + 200), {}, (77, 77, 77)),
    "opaque": ("x.png", Image.new("RGBA", (5, 5), (10, 20, 30, 255)), {}, (10, 20, 30)),
    "transparent": ("x.png", CLEAR, {}, (255, 255, 255)),
    "half": ("x.png", Image.new("LA", (5, 5), (55, 51)), {}, (215, 215, 215)),  # a fifth of 55
    "palette": ("x.png", *palette(None), (10, 20, 30)),
    "palette, one index clear": ("x.png", *palette(1), (255, 255, 255)),
    "palette, another clear": ("x.png", *palette(0), (10, 20, 30)),
    "palette, alpha for each": ("x.png", *palette(b"\xff\x00"), (255, 255, 255)),
    **{
        f"JPEG, {mode}": (
            "x.jpg",
            Image.new("RGB", (5, 5), (80, 80, 80)).convert(mode),
            {},
            (80,) * 3,
        )
        for mode in ("L", "CMYK", "YCbCr")
    },
    "APNG": ("x.png", RED, pages(), (200, 0, 0)),
    "MPO": ("x.mpo", RED, pages(), (200, 0, 0)),
    "progressive JPEG": ("x.jpg", RED, {"progressive": True, "quality": 95}, (200, 0, 0)),
    "animated GIF": ("x.gif", RED, pages(), (200, 0, 0)),
    "transparent GIF": ("x.gif", palette(None)[0], {"transparency": 1}, (255, 255, 255)),
    "WebP": ("x.webp", RED, {"lossless": True}, (200, 0, 0)),
    "transparent WebP": ("x.webp", CLEAR, {"lossless": True}, (255, 255, 255)),
    "animated WebP": ("x.webp", RED, pages(lossless=True), (200, 0, 0)),
    "BMP": ("x.bmp", RED, {}, (200, 0, 0)),
    "BMP, 1 bit": ("x.bmp", Image.new("1", (5, 5), 1), {}, (255, 255, 255)),
    "BMP, palette": ("x.bmp", palette(None)[0], {}, (10, 20, 30)),
    "TIFF": ("x.tif", RED, {}, (200, 0, 0)),
    "TIFF, LZW": ("x.tif", RED, {"compression": "tiff_lzw"}, (200, 0, 0)),
    "TIFF, pages": ("x.tif", RED, pages(), (200, 0, 0)),
    "TIFF, 16 bits": ("x.tif", sixteen(77 * 256 + 3), {}, (77, 77, 77)),
    "TIFF, 32 bits": ("x.tif", sixteen(77 * 256 + 3, "int32"), {}, (77, 77, 77)),
    "TIFF, CMYK": ("x.tif", Image.new("CMYK", (5, 5), (0, 255, 255, 0)), {}, (255, 0, 0)),
    "TIFF, transparent": ("x.tif", CLEAR, {}, (255, 255, 255)),
    "TIFF, 1 bit": ("x.tif", Image.new("1", (5, 5), 1), {"compression": "group4"}, (255,) * 3),
    "PPM": ("x.ppm", RED, {}, (200, 0, 0)),
    "PGM": ("x.pgm", Image.new("L", (5, 5), 77), {}, (77, 77, 77)),
    "PGM, 16 bits": ("x.pgm", sixteen(77 * 256 + 3), {}, (77, 77, 77)),
    "PBM": ("x.pbm", Image.new("1", (5, 5), 1), {}, (255, 255, 255)),
    "a wrong extension": ("x.jpg", RED, {"format": "PNG"}, (200, 0, 0)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_file(tmp_path, name):
    file, image, options, colour = KINDS[name]
    image.copy().save(tmp_path / file, **options)  # saving leaves settings in the image
    result = decode(str(tmp_path / file), image_options(2)).reshape(3, 4).T.astype(int)
    assert np.abs(result - colour).max() <= (3 if file in ("x.jpg", "x.mpo") else 0)


def test_floating_point_pixels_need_their_range(tmp_path):
    sixteen(0.5, "float32").save(tmp_path / "x.tif")
    path = str(tmp_path / "x.tif")
    assert "give a value_range" in decode_or_reason(path, image_options(2))
    assert (decode(path, image_options(2, value_range=(0, 1))) == 128).all()
    assert "expected values from 0 to 0.25, found 0.5" in decode_or_reason(
        path, image_options(2, value_range=(0, 0.25))
    )


CHECKED = np.array([[0, 100, 4095]], np.uint16)


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (CHECKED, None, [0, 0, 15]),
        (CHECKED, (0, 4095), [0, 6, 255]),
        (np.array([[0, 1, 1]], np.uint8), (0, 1), [0, 255, 255]),
        (np.array([[10, 15, 20]], np.uint8), "10,20", [0, 128, 255]),
        (np.array([[0, 55, 255]], np.uint8), "255,0", [255, 200, 0]),
        (CHECKED, "4095,0", [255, 249, 0]),
        (np.array([[False, True, True]]), (255, 0), [255, 0, 0]),
        (np.array([[False, True, True]]), (0, 1), [0, 255, 255]),
    ],
)
def test_black_and_white_are_what_the_user_says(tmp_path, values, value_range, expected):
    Image.fromarray(values).save(tmp_path / "x.png")
    options = image_options("native", grey=True, value_range=value_range)
    assert decode(str(tmp_path / "x.png"), options).ravel().tolist() == expected


@pytest.mark.parametrize("kind", ["LA", "RGB"])
def test_a_range_beyond_eight_bits_is_refused_where_pillow_reads_eight(tmp_path, kind):
    Image.new(kind, (3, 3), 15).save(tmp_path / "x.png")
    options = image_options(2, value_range=(0, 4095))
    assert "values from 0 to 255" in decode_or_reason(str(tmp_path / "x.png"), options)


@pytest.mark.parametrize(
    ("background", "colour"),
    [(None, 255), ("white", 255), ("black", 0), ("7,8,9", [7, 8, 9]), ((7, 8, 9), [7, 8, 9])],
)
@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "16 bits"])
def test_transparency_shows_the_background(tmp_path, kind, background, colour):
    """A white digit on a transparent ground, stored in four ways."""
    path, alpha = str(tmp_path / "x.png"), np.array([[0, 255]], np.uint8)
    white = np.full_like(alpha, 255)
    if kind == "RGBA":
        Image.fromarray(np.dstack([white] * 3 + [alpha])).save(path)
    elif kind == "LA":
        Image.merge("LA", [Image.fromarray(white), Image.fromarray(alpha)]).save(path)
    elif kind == "palette":
        image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
        image.putpalette([0, 0, 0, 255, 255, 255])
        image.save(path, transparency=0)
    else:
        Image.fromarray(np.array([[300, 65535]], np.uint16)).save(path, transparency=300)
    clear, opaque = decode(path, image_options("native", background=background))[:, 0].T
    assert (clear == colour).all() and (opaque == 255).all()


# The pixels as stored by a camera held in each orientation; decoded they must be upright.
HELD = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", HELD)
def test_turned_upright_before_it_is_cropped(tmp_path, orientation):
    upright = np.random.default_rng(0).integers(0, 256, (13, 10, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(upright).save(tmp_path / "upright.png")
    stored = Image.fromarray(np.ascontiguousarray(HELD[orientation](upright)))
    stored.save(tmp_path / "stored.png", exif=exif)
    np.testing.assert_array_equal(
        decode(str(tmp_path / "stored.png"), image_options(6)),
        decode(str(tmp_path / "upright.png"), image_options(6)),
    )


@pytest.mark.parametrize("block", ["exif", "xmp"])
def test_a_jpeg_is_turned_by_either_block(tmp_path, block):
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    stored = Image.new("RGB", (8, 16))
    stored.paste((255, 255, 255), (0, 0, 8, 8))  # the upper half, which is on the right upright
    stored.save(tmp_path / "x.jpg", **{block: exif if block == "exif" else xmp})
    left, right = decode(str(tmp_path / "x.jpg"), image_options("native"))[0, 4, [2, 13]]
    assert left < 10 and right > 245


def test_a_garbled_exif_block_costs_nothing(tmp_path):
    """Pillow rotates this picture and then fails to write its EXIF block."""
    orientation = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    resolution_as_text = struct.pack(">HHI4s", 0x011A, 2, 4, b"high")
    entries = struct.pack(">H", 2) + orientation + resolution_as_text + bytes(4)
    stored = Image.fromarray(np.arange(130, dtype=np.uint8).reshape(13, 10))
    stored.save(tmp_path / "garbled.png", exif=b"Exif\0\0MM\0*\0\0\0\x08" + entries)
    stored.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    np.testing.assert_array_equal(
        decode(str(tmp_path / "garbled.png"), image_options(6)),
        decode(str(tmp_path / "upright.png"), image_options(6)),
    )


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height):
    """The beginning of a PNG file whose header gives this size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")


def photograph(tmp_path, suffix):
    write_photograph(tmp_path / f"whole{suffix}", 0, 40, 40)
    return (tmp_path / f"whole{suffix}").read_bytes()


BROKEN = {
    "empty": (lambda _: b"", "not an image"),
    "text": (lambda _: b"<html>Not found</html>", "not an image"),
    "another format": (lambda folder: photograph(folder, ".ico"), "not an image"),
    "half a JPEG": (lambda folder: photograph(folder, ".jpg")[:1500], "truncated"),
    "half a PNG": (lambda folder: photograph(folder, ".png")[:1500], "truncated"),
    "at the limit": (lambda _: png(8192, MAX_PIXELS // 8192), "truncated"),
    "above it": (lambda _: png(8193, 8192), f"at most {MAX_PIXELS} pixels, found 8193 x 8192"),
    "Pillow warns": (lambda _: png(10_000, 10_000), "found 10000 x 10000"),
    "Pillow refuses": (lambda _: png(60_000, 60_000), "3600000000 pixels"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_says_why_a_file_is_broken(tmp_path, name):
    make, reason = BROKEN[name]
    (tmp_path / "x.jpg").write_bytes(make(tmp_path))
    (result,) = decode_all([str(tmp_path / "x.jpg")], image_options(2), ahead=1)
    assert isinstance(result, str) and reason in result


def test_says_why_there_is_nothing_to_read(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path, options = str(tmp_path / "x.jpg"), image_options(2)
    assert decode_or_reason(path, options) == "No such file or directory"
    monkeypatch.setattr(module, "open_file", refuse)
    assert decode_or_reason(path, options) == "Permission denied"


def test_want_of_memory_is_not_the_files_fault(monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr(module, "decode", exhausted)
    with pytest.raises(MemoryError):
        decode_or_reason(__file__, image_options(2))


def test_all_in_order_and_not_too_far_ahead(tmp_path, monkeypatch):
    """If the caller takes one picture, the rest of CelebA must not already be in memory."""
    started, real = [], module.decode_or_reason
    for i in range(40):
        write_grey(tmp_path / f"{i}.png", i)
    monkeypatch.setattr(module, "GROUP", 3)
    monkeypatch.setattr(
        module, "decode_or_reason", lambda path, *rest: started.append(path) or real(path, *rest)
    )
    results = decode_all([str(tmp_path / f"{i}.png") for i in range(40)], image_options(2), ahead=5)
    first = next(results)
    time.sleep(0.1)  # enough time for threads that do not wait
    assert len(started) <= 6
    assert values(np.stack([first, *results])) == list(range(40))


def test_closing_stops_the_threads(tmp_path):
    write_grey(tmp_path / "x.png", 0)
    before = threading.active_count()
    results = decode_all([str(tmp_path / "x.png")] * 100, image_options(2), ahead=50)
    next(results)
    assert threading.active_count() > before
    results.close()
    assert threading.active_count() == before


def test_what_is_no_file_is_not_waited_for(tmp_path):
    pipe(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with bounded():
        for name in ("pipe", "link", "folder"):
            assert decode_or_reason(str(tmp_path / f"{name}.jpg"), image_options(2)) == "not a file"


def test_a_huge_file_is_not_read(tmp_path):
    path = sparse(tmp_path / "x.png", module.MAX_BYTES + 1, png(5, 5))
    with bounded():
        reason = decode_or_reason(str(path), image_options(2))
    assert reason == f"expected at most {module.MAX_BYTES} bytes, found {module.MAX_BYTES + 1}"


def test_a_promise_of_4_gigabytes_reserves_none(tmp_path):
    write_grey(tmp_path / "x.png", 7)
    content = (tmp_path / "x.png").read_bytes()
    at = content.index(b"IDAT")
    (tmp_path / "x.png").write_bytes(content[: at - 4] + b"\xff\xff\xff\xff" + content[at:])
    with bounded():
        assert (decode(str(tmp_path / "x.png"), image_options(2)) == 7).all()


def test_a_jpeg_that_goes_over_its_pixels_for_ever(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "x.jpg", progressive=True)
    content = (tmp_path / "x.jpg").read_bytes()
    at, scans = content.rindex(module.START_OF_SCAN), content.count(module.START_OF_SCAN)
    for more, expected in ((0, "ndarray"), (module.MAX_SCANS, "str")):
        (tmp_path / "x.jpg").write_bytes(content[:at] + content[at:-2] * (1 + more) + content[-2:])
        result = decode_or_reason(str(tmp_path / "x.jpg"), image_options(2))
        assert type(result).__name__ == expected
    assert result == f"expected at most 1000 scans, found {1000 + scans}"


def test_large_pictures_wait_for_each_other(tmp_path, monkeypatch):
    """64 megapixels with transparency take 1.3 GB: with a thread for each of 64 cores, 80 GB."""
    at_work, most, real = [], [], module.render

    def watched(*arguments):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.pop()
        return real(*arguments)

    monkeypatch.setattr(module, "render", watched)
    monkeypatch.setattr(module, "GROUP", 1)
    monkeypatch.setattr(module, "cores", lambda: 4)
    write_grey(tmp_path / "x.png", 0)  # 9 pixels
    for large, expected in ((9, {1, 2, 3, 4}), (8, {1})):
        most.clear()
        monkeypatch.setattr(module, "LARGE", large)
        assert (
            len(list(decode_all([str(tmp_path / "x.png")] * 12, image_options(2), ahead=12))) == 12
        )
        assert set(most) == expected
