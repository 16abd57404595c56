"""`arrays:FILE`: shapes, values, splits, keys; damaged and hostile files give one line each."""

import io
import warnings
import zipfile

import numpy as np
import pytest
from hostile import bounded, pipe, sparse

from scratchvae import data
from scratchvae.data import arrays, load_arrays, spread

N = 40
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (N, 9, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (N, 9, 7, 3), np.uint8)
LABELS = np.arange(N) % 3


def fault(file, *options):
    """The message of the ValueError: one line, which names the file."""
    with pytest.raises(ValueError) as caught:
        load_arrays(file, *options)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(file).split(".np")[0])
    return message


def halves(images):
    """The training and test images of an array without a split of its own."""
    test = spread(len(images) // 10, len(images))
    return np.delete(images, test, 0), images[test]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (np.asfortranarray(COLOUR), COLOUR.transpose(0, 3, 1, 2)),
        (GREY > 99, (GREY > 99) * np.uint8(255)),
    ],
    ids=["NHW", "NHW1", "N1HW", "NHWC", "NCHW", "Fortran", "bool"],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
def test_images_of_bytes(tmp_path, monkeypatch, stored, expected, kind):
    monkeypatch.setattr(arrays, "BLOCK", 300)  # a few images at a time
    path = tmp_path / f"a.{kind[:3].replace('com', 'npz')}"
    save = {"npy": np.save, "npz": np.savez, "compressed": np.savez_compressed}[kind]
    save(path, stored)
    dataset = load_arrays(path)
    train, test = halves(expected)
    assert dataset.name == f"arrays:{path.name}" and dataset.train_labels is None
    np.testing.assert_array_equal(dataset.train_images, train)
    np.testing.assert_array_equal(dataset.test_images, test)
    assert dataset.train_images.dtype == np.uint8 and dataset.train_images.flags.c_contiguous


@pytest.mark.parametrize("stored", [255 - GREY, 1 - GREY / 255, 255 - GREY > 155])
def test_white_may_be_the_smaller_value(tmp_path, stored):
    np.save(tmp_path / "a.npy", stored)
    white = int(np.ceil(stored.max()))
    expected = np.where(GREY > 99, 255, 0) if stored.dtype == bool else GREY
    images = load_arrays(tmp_path / "a.npy", (white, 0)).test_images
    np.testing.assert_array_equal(images, halves(expected)[1])


NUMBERS = ["f2", "f4", "f8", ">f4", "i1", "i2", "u2", ">u2", "i4", "u4", "i8", "u8", "u1"]


@pytest.mark.parametrize("dtype", NUMBERS)
def test_other_numbers_need_a_range(tmp_path, dtype):
    path, kind = tmp_path / "a.npy", np.dtype(dtype).kind
    high = 1 if kind == "f" else 100
    np.save(path, (GREY / 255 * high).astype(dtype))
    if dtype != "u1":
        message = fault(path)
        assert "--value-range BLACK,WHITE" in message
        assert f"{np.dtype(dtype)} has values from 0 to {high}:" in message
    images = load_arrays(path, (0, high)).train_images
    exact = np.round(halves((GREY / 255 * high).astype(dtype).astype(float))[0] / high * 255)
    assert np.abs(images - exact).max() <= (dtype == "f2")
    assert images.min() == 0 and images.max() == 255
    assert load_arrays(path, (0, 2 * high)).train_images.max() == 128


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ([2], "from 0 to 2"),
        ([1.7e308], "from 0 to 1.7e+308"),
        ([-0.5, 3], "from -0.5 to 3"),
        ([np.nan] * 3, "from 0 to 1 and 3 NaN"),
        ([np.inf, -np.inf, np.nan], "from -inf to inf and 1 NaN"),
    ],
)
def test_values_outside_of_the_range_are_refused(tmp_path, bad, found):
    images = GREY / 255
    images.reshape(-1)[: len(bad)] = bad
    np.save(tmp_path / "a.npy", images)
    message = fault(tmp_path / "a.npy", (0, 1))
    assert message.endswith(
        f"expected values within the value_range (0, 1), but an array (40, 9, 7) float64 has "
        f"values {found}"
    )


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((), ""),
        ((40,), ""),
        ((40, 784), "reshape each row to height and width"),
        ((64, 64, 3), "for one image, or images with C = 1, add an axis"),
        ((40, 3, 64, 3), "C may be the second or the last axis"),
        ((40, 1, 28, 1), "C may be the second or the last axis"),
        ((40, 28, 28, 4), "alpha, with a background first"),
        ((40, 4, 28, 28), "alpha, with a background first"),
        ((40, 28, 28, 28), ""),
        ((40, 2, 28, 28), ""),
        ((2, 3, 28, 28, 3), ""),
        ((0, 28, 28), "at least 2 images"),
        ((1, 28, 28), "at least 2 images"),
        ((5, 0, 28), "at least 2 images"),
        ((5, 3, 0, 28), "at least 2 images"),
    ],
)
def test_other_shapes_are_refused(tmp_path, shape, why):
    for save, name in ((np.save, "a.npy"), (np.savez, "a.npz")):
        save(tmp_path / name, np.zeros(shape, "u1"))
        message = fault(tmp_path / name)
        assert message.endswith(why) or why in message
        assert str(shape) in message


def test_the_files_of_keras_bring_their_split_and_labels(tmp_path):
    path = tmp_path / "mnist.npz"
    np.savez(path, x_train=GREY, y_train=LABELS, x_test=GREY[::-1][:5], y_test=LABELS[:5])
    lines = []
    dataset = load_arrays(path, say=lines.append)
    np.testing.assert_array_equal(dataset.train_images, GREY)
    np.testing.assert_array_equal(dataset.test_images, GREY[::-1][:5])
    np.testing.assert_array_equal(dataset.train_labels, LABELS)
    np.testing.assert_array_equal(dataset.test_labels, LABELS[:5])
    assert lines == [
        "warning: arrays:mnist.npz: 5 of 5 test images are training images, too: the model has "
        "seen them"
    ]


def test_the_files_of_medmnist_bring_validation_images(tmp_path):
    parts = {"train": COLOUR[:30], "val": COLOUR[30:35], "test": COLOUR[35:]}
    content = {f"{part}_images": images for part, images in parts.items()}
    content |= {f"{part}_labels": np.ones((len(i), 1), "u1") for part, i in parts.items()}
    np.savez_compressed(tmp_path / "pathmnist.npz", **content)
    lines = []
    dataset = load_arrays(tmp_path / "pathmnist.npz", say=lines.append)
    for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        images = getattr(dataset, f"{name}_images")
        np.testing.assert_array_equal(images, parts[part].transpose(0, 3, 1, 2))
    assert dataset.train_labels.shape == (30,) and dataset.test_labels.shape == (5,)
    assert lines == []


def save_dsprites(path):
    shapes = {"imgs": (GREY > 99).astype("u1"), "latents_values": np.zeros((N, 6))}
    shapes |= {"latents_classes": np.zeros((N, 6), int)}
    np.savez_compressed(path, metadata=np.array({"title": "dSprites"}, object), **shapes)


def test_dsprites_as_it_is(tmp_path):
    """Pixels 0 and 1 in bytes, and metadata that only unpickling could read."""
    path = tmp_path / "dsprites_ndarray.npz"
    save_dsprites(path)
    expected = halves((GREY > 99) * np.uint8(255))[0]
    for file in (path, f"{path}:imgs", f"{str(path)[:-3]}NPZ"):
        path.rename(str(file).split(":")[0])
        path = type(path)(str(file).split(":")[0])
        np.testing.assert_array_equal(load_arrays(file).train_images, expected)


def test_a_key_and_labels_beside_it(tmp_path):
    path = tmp_path / "several.npz"
    np.savez(path, day=GREY, night=255 - GREY, kind=LABELS, short=LABELS[:9])
    dataset = load_arrays(f"{path}:night")
    np.testing.assert_array_equal(dataset.test_images, 255 - halves(GREY)[1])
    np.testing.assert_array_equal(dataset.test_labels, halves(LABELS)[1])
    assert dataset.name == "arrays:several.npz:night"
    listed = r"day (40, 9, 7) uint8; night (40, 9, 7) uint8; kind (40,) int64; short (9,) int64"
    for file, wanted in ((path, "one array of images"), (f"{path}:dusk", "the key dusk")):
        assert f"expected {wanted}, found {listed}: name the array" in fault(file)
    np.savez(path, images=GREY, labels=LABELS.astype(">i8")[:, None], ids=np.arange(N))
    np.testing.assert_array_equal(load_arrays(path).train_labels, halves(LABELS)[0])


def test_labels_that_are_no_classes_are_left_out(tmp_path):
    lines, path = [], tmp_path / "a.npz"
    one_hot = np.eye(3)[LABELS]
    np.savez(path, x_train=GREY, y_train=one_hot, x_test=GREY[:5] // 2, y_test=LABELS[:5])
    dataset = load_arrays(path, say=lines.append)
    assert dataset.train_labels is None and dataset.test_labels.shape == (5,)
    assert lines == [
        "warning: arrays:a.npz: labels left out: y_train (40, 3) float64 is not an integer for "
        "each image"
    ]
    np.savez(path, x_train=GREY, y_train=LABELS[:-1], x_test=GREY, y_test=LABELS)
    assert "expected 40 labels" in fault(path)
    np.savez(path, x_train=GREY, x_test=COLOUR)
    assert "expected images of one shape" in fault(path)


def npy_header(shape, descr="|u1", version=2):
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    getattr(np.lib.format, f"write_array_header_{version}_0")(stream, header)
    return stream.getvalue()


def npy(array, **options):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.save(stream, array, **options)
    return stream.getvalue()


SOUND = npy(GREY)
HOSTILE = {
    "empty": (b"", "found the bytes b''"),
    "text": (b"<html>", "found the bytes b'<html>'"),
    "magic alone": (SOUND[:6], ""),
    "cut in the header": (SOUND[:50], ""),
    "cut in the data": (SOUND[:-1], "expected 2520 bytes for (40, 9, 7) uint8, found 2519"),
    "two arrays": (SOUND + SOUND, "damaged array: expected 2520 bytes"),
    "huge": (npy_header((2**40, 28, 28)), "damaged array"),
    "overflowing": (npy_header((2**62, 2**62, 4)), "damaged array"),
    "negative": (npy_header((-40, 9, 7)) + SOUND[128:], "damaged array"),
    "objects": (npy(np.array([GREY, "x"], object)), "(objects are never unpickled)"),
    "long header": (b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + b" " * 99, ""),
    "brackets": (b"\x93NUMPY\x02\x00\x2c\x01\x00\x00" + b"(" * 300, "no valid header"),
    "large header": (npy_header((40, 9, 7), [(f"f{i}", "u1") for i in range(3000)]), ""),
    "code in the header": (SOUND[:10] + b"__import__('os').abort()".ljust(118) + SOUND[128:], ""),
    "version 9": (b"\x93NUMPY\x09\x00" + SOUND[8:], ""),
    "version 3": (b"\x93NUMPY\x03\x00\x76\x00\x00\x00" + SOUND[10:], "-"),
    "structured": (npy(np.zeros((40, 9, 7), "u1,u1")), "expected images of numbers"),
    "complex": (npy(np.zeros((40, 9, 7), complex)), "expected images of numbers"),
    "text array": (npy(np.full((40, 9, 7), "a")), "expected images of numbers"),
    "dates": (npy(np.zeros((40, 9, 7), "M8[s]")), "expected images of numbers"),
}


@pytest.mark.parametrize("inside", [False, True], ids=["npy", "npz"])
@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_and_hostile_files_give_one_line(tmp_path, name, inside):
    content, why = HOSTILE[name]
    path = tmp_path / f"a.np{'z' if inside else 'y'}"
    if inside:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", content)
    else:
        path.write_bytes(content)
    with bounded():
        if why == "-":
            load_arrays(path)  # it is sound
        else:
            message = fault(path)
            assert inside or why in message


def test_a_directory_that_claims_more_bytes_than_there_are(tmp_path):
    """Otherwise memory that was never written would become images."""
    path, content = tmp_path / "a.npz", npy_header((2 * N, 9, 7)) + GREY.tobytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")  # in the directory
    data[entry + 24 : entry + 28] = np.uint32(len(content) + GREY.size).tobytes()
    path.write_bytes(data)
    assert "damaged array: expected 80 images, found 40" in fault(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("damage", ["a byte", "a directory outside of the file", "a long name"])
def test_damage_in_an_npz_is_found(tmp_path, save, damage):
    save(tmp_path / "a.npz", GREY)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    if damage == "a byte":
        content[1000] ^= 1
    elif damage == "a long name":  # its length, in front of the array
        content[26:28] = np.uint16(2000).tobytes()
    else:  # the offset of the directory
        end = content.index(b"PK\x05\x06")
        content[end + 16 : end + 20] = b"\xff\xff\xff\x7f"
    (tmp_path / "a.npz").write_bytes(content)
    assert len(fault(tmp_path / "a.npz")) < 2000


def test_the_limit_of_an_array_in_an_npz(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", GREY)
    monkeypatch.setattr(arrays, "MAX_VALUES", GREY.size)
    load_arrays(tmp_path / "a.npz")
    monkeypatch.setattr(arrays, "MAX_VALUES", GREY.size - 1)
    assert "expected at most 2519 values, found arr_0 (40, 9, 7)" in fault(tmp_path / "a.npz")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    for path in (pipe(tmp_path / "pipe.npy"), tmp_path):
        with bounded():
            assert fault(path) == f"{path}: not a file"
    with pytest.raises(FileNotFoundError, match=r"nothing\.npy"):
        load_arrays(tmp_path / "nothing.npy")
    assert "found the bytes" in fault(sparse(tmp_path / "zeros.npy", 10**12))


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_memory_holds_the_result_and_a_block(tmp_path, save):
    path = tmp_path / ("a.npy" if save is np.save else "a.npz")
    save(path, np.zeros((2000, 100, 100), "f4"))  # 80 MB
    with bounded(megabytes=20 + 43):  # the bytes, and blocks of 2**20 values in float64
        load_arrays(path, (0, 1))


def test_load_by_name(tmp_path):
    np.save(tmp_path / "a.npy", COLOUR / 255)
    dataset = data.load(f"arrays:{tmp_path / 'a.npy'}", value_range="0,1", grey=True, image_size=8)
    assert dataset.name == "arrays:a.npy" and dataset.train_images.shape == (36, 1, 8, 8)
    with pytest.raises(ValueError, match="background: expected image files, got arrays:"):
        data.load("arrays:a.npy", background="white")
