"""read_idx reads valid files exactly and rejects others with a message, in bounded memory."""

import gzip
import re
import struct

import numpy as np
import pytest
from hostile import bounded, pipe
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchvae.data import read_idx
from scratchvae.data.idx import MAX_BYTES

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
DIGITS = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """One file, overwritten in each of many examples."""
    return tmp_path_factory.mktemp("idx") / "scratch"


def header(*sizes, type_code=0x08, ndim=None):
    ndim = len(sizes) if ndim is None else ndim
    return struct.pack(">HBB", 0, type_code, ndim) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@settings(deadline=None, max_examples=50)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_round_trip(scratch, idx_bytes, compress, shape, seed):
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    scratch.write_bytes(compress(idx_bytes(array)))
    for ndim in (None, len(shape)):
        result = read_idx(scratch, ndim)
        assert result.dtype == np.uint8 and result.shape == shape
        np.testing.assert_array_equal(result, array)


def test_compression_is_recognised_from_content_not_from_name(tmp_path, idx_bytes):
    (tmp_path / "plain.gz").write_bytes(idx_bytes(DIGITS))
    (tmp_path / "compressed").write_bytes(gzip.compress(idx_bytes(DIGITS)))
    for name in ("plain.gz", "compressed"):
        result = read_idx(str(tmp_path / name))
        np.testing.assert_array_equal(result, DIGITS)
        result[0] = 7  # it is writable


def test_large_array_spans_several_chunks(scratch, idx_bytes):
    array = np.random.default_rng(0).integers(0, 256, (3, 1000, 1001), dtype=np.uint8)
    for compress in (bytes, lambda data: gzip.compress(data, 1)):
        scratch.write_bytes(compress(idx_bytes(array)))
        np.testing.assert_array_equal(read_idx(scratch), array)


BAD = {
    "empty": (b"", "not an IDX file of bytes: .*, found an empty file"),
    "magic": (b"<html>", "not an IDX file of bytes: .* 00 00 08 .*, found 3c 68 74 6d"),
    "type": (header(1, type_code=13) + b"abcd", "expected 00 00 08 .*, found 00 00 0d 01"),
    "rank 0": (header() + b"a", "wrong IDX rank: expected 1 to 4 dimensions, found 0"),
    "rank 5": (header(1, 1, 1, 1, 1) + b"a", "expected 1 to 4 dimensions, found 5"),
    "header cut": (header(2, ndim=3), "truncated IDX header: expected 3 sizes of 4 bytes"),
    "zero": (header(3, 0), f"wrong IDX size: expected 1 to {MAX_BYTES} .*, found 3 x 0 = 0"),
    "absurd": (header(2**20, 2**20), f"found 1048576 x 1048576 = {2**40}"),
    # The product would be 0 in 64-bit arithmetic.
    "overflow": (header(*[2**31] * 4), f"wrong IDX size: .* = {2**124}"),
    "one above the limit": (header(MAX_BYTES + 1), "wrong IDX size"),
    "at the limit": (header(MAX_BYTES) + b"a", f"truncated .* {MAX_BYTES} bytes, found 1 bytes"),
    "cut": (header(2, 3) + b"abcde", "truncated IDX data: expected 2 x 3 = 6 bytes, found 5 bytes"),
    "over": (header(2, 3) + b"abcdefg", "over-long IDX data: expected 2 x 3 = 6 bytes, found more"),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", BAD)
def test_refuses(tmp_path, name, compress):
    content, message = BAD[name]
    path = tmp_path / "some-file"
    path.write_bytes(compress(content))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_idx(path)


def test_refuses_another_rank_than_expected(scratch, idx_bytes):
    scratch.write_bytes(idx_bytes(DIGITS))
    with pytest.raises(ValueError, match="wrong IDX rank: expected 1 dimensions, found 3"):
        read_idx(scratch, expected_ndim=1)


def test_refuses_damaged_gzip(scratch, idx_bytes):
    whole = gzip.compress(idx_bytes(DIGITS))
    cases = {
        whole[:-1]: "damaged gzip file: .*ended before",
        whole[:2]: "damaged gzip file: .*ended before",
        whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]: "damaged gzip file: .*CRC",
        whole[:10] + b"\xff" * 8 + whole[18:]: "damaged gzip file",
        whole[:2] + b"\x07" + whole[3:]: "damaged gzip file: .*method",
        whole + b"garbage": "damaged gzip file",
    }
    for content, message in cases.items():
        scratch.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{re.escape(str(scratch))}: {message}"):
            read_idx(scratch)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    for path in (pipe(tmp_path / "pipe"), tmp_path):
        with bounded(), pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a file$"):
            read_idx(path)


@pytest.mark.parametrize(
    "content",
    [
        header(2**20, 2**20),
        header(MAX_BYTES),
        gzip.compress(header(MAX_BYTES)),
        gzip.compress(header(1) + bytes(200_000_000), 1),  # 200 MB in 900 kB: a small bomb
    ],
    ids=["absurd", "at the limit", "gzip at the limit", "gzip bomb"],
)
def test_broken_promises_cost_no_memory(scratch, content):
    scratch.write_bytes(content)
    with bounded(), pytest.raises(ValueError, match="IDX"):
        read_idx(scratch)


def test_every_truncation_is_refused(scratch, idx_bytes):
    for whole in (idx_bytes(DIGITS), gzip.compress(idx_bytes(DIGITS))):
        for keep in range(len(whole)):
            scratch.write_bytes(whole[:keep])
            with pytest.raises(ValueError, match="truncated|ended before|not an IDX file of bytes"):
                read_idx(scratch)
