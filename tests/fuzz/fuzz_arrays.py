"""NumPy's files: headers that do not match the data, alone and inside a valid zip file."""

import io
import zipfile
from functools import cache

import numpy as np
from mutating import INTEGERS, mutated

from scratchvae.data import load_arrays

MEGABYTES = 300  # a deflated kilobyte holds a megabyte of pixels
TYPES = [
    "|u1",
    "|u1",
    "|b1",
    "<f4",
    ">f8",
    "<i2",
    "<u8",
    "|O",
    "<U3",
    "<c8",
    "<M8[s]",
    "|V9",
    "<f2",
]


def npy(header, data, version=(1, 0)):
    """A .npy file with any text as its header."""
    text = header.encode().ljust((-len(header) - 11) % 64 + len(header)) + b"\n"
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + text + data


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def array(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@cache
def seeds():
    images = np.arange(4 * 5 * 6, dtype="u1").reshape(4, 5, 6)
    plain = [array(images), array(images.astype("f4")), array(np.asfortranarray(images))]
    members = {"x_train.npy": plain[0], "y_train.npy": array(np.arange(4)), "x_test.npy": plain[2]}
    return [*plain, zipped(members), zipped({"images.npy": plain[1]})]


def build(random):
    """A header with wrong values, data of the right or of a wrong length, sometimes zipped."""
    sizes = [random.randrange(1, 9) for _ in range(random.choice((0, 1, 2, 3, 3, 3, 4, 4, 5)))]
    descr = random.choice(TYPES)
    try:
        data = bytes(int(np.prod(sizes)) * np.dtype(descr).itemsize)
    except TypeError:
        data = b""
    if sizes and random.random() < 0.3:
        sizes[random.randrange(len(sizes))] = random.choice((*INTEGERS, -1, 2**63, 10**30))
    shape = random.choice((repr(tuple(sizes)),) * 6 + ("()", "[3, 4]", "(" * 200, "None", "1e9"))
    header = f"{{'descr': {descr!r}, 'fortran_order': {random.choice((True, False, 0))}, "
    header += f"'shape': {shape}, }}" + random.choice(("",) * 6 + (" " * 20_000, "\n\n", "'x'"))
    content = npy(header, data, random.choice(((1, 0), (1, 0), (2, 0), (3, 0), (9, 9))))
    if random.random() < 0.5:
        content = mutated(content, random, seeds()[:3])
    if random.random() < 0.5:
        names = random.sample(("x_train.npy", "x_test.npy", "imgs.npy", "labels.npy", "a"), 2)
        content = zipped({name: random.choice((content, seeds()[0])) for name in names})
    return content if random.random() < 0.7 else mutated(content, random, seeds())


def parser(folder):
    """A function of a file: True if it is read, False if it is rejected with a message."""

    def read(path):
        try:
            dataset = load_arrays(path, (-1e30, 1e30), say=lambda line: None)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error), error
            assert len(str(error)) < 2000, error
            return False
        for images in (dataset.train_images, dataset.test_images):
            assert images.dtype == "uint8" and images.ndim in (3, 4) and images.size > 0
        return True

    return read
