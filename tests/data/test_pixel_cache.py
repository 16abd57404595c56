"""The cache of decoded pictures: decoded once, safe to interrupt, never stale."""

import errno
import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from photographs import cache_file, load, write_photograph, write_photographs

from scratchvae.data import decode, images, pixel_cache

COUNT, CHUNK = 22, 4  # files in the folder, pictures between two notes


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A folder of `COUNT` pictures; every fourth is saved at once."""
    monkeypatch.setattr(pixel_cache, "CHUNK", CHUNK)
    monkeypatch.setattr(decode, "GROUP", 1)
    return write_photographs(tmp_path / "photographs", COUNT)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files decoded so far; at `decoded.stop_at` Ctrl-C is simulated."""

    class Names(list):
        stop_at = None

    names, real = Names(), decode.decode

    def watched(path, *rest):
        name = Path(path).name
        if name == names.stop_at:
            raise KeyboardInterrupt
        names.append(name)
        return real(path, *rest)

    monkeypatch.setattr(decode, "decode", watched)
    return names


def assert_as_decoded_anew(data, folder, **options):
    fresh = load(folder, cache=f"another cache {time.monotonic_ns()}", **options)
    np.testing.assert_array_equal(data.train_images, fresh.train_images)
    np.testing.assert_array_equal(data.test_images, fresh.test_images)


def test_rows_are_what_decode_gives_and_nothing_is_said(photographs, capfd):
    data = load(photographs, crop=9, test_share=0.5)
    for i in range(COUNT):
        part = data.test_images if i % 2 else data.train_images
        expected = decode.decode(str(photographs / f"{i:03}.png"), 8, 9)
        np.testing.assert_array_equal(part[i // 2], expected)
    assert capfd.readouterr() == ("", "")


def test_decoded_once(photographs, decoded):
    first = load(photographs)
    assert sorted(decoded) == [f"{i:03}.png" for i in range(COUNT)]
    second = load(photographs)
    assert len(decoded) == COUNT
    np.testing.assert_array_equal(first.train_images, second.train_images)
    np.testing.assert_array_equal(first.test_images, second.test_images)


def test_kept_in_the_users_cache_folder_one_folder_for_each(photographs, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(photographs.parent / "xdg"))
    twin = photographs.parent / "elsewhere" / photographs.name
    write_photographs(twin, 2)
    for folder, size, crop in [
        (photographs, 8, None),
        (photographs, 9, None),
        (photographs, 8, 5),
        (twin, 8, None),
    ]:
        images.load_folder(folder, size, crop)
    kept = list((photographs.parent / "xdg/scratchvae/images").glob("photographs-*/pixels"))
    assert len(kept) == 4


def add(folder):
    write_photograph(folder / "0000.png", 99)


def remove(folder):
    (folder / "003.png").unlink()


def touch(folder):
    os.utime(folder / "003.png", (1, 1))


def replace(folder):
    stamp = (folder / "003.png").stat()
    write_photograph(folder / "003.png", 99, height=99)
    os.utime(folder / "003.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def rename(folder):
    (folder / "003.png").rename(folder / "0030.png")  # its position in the list stays the same


def forbid(folder):
    (folder / "003.png").chmod(0o600)


@pytest.mark.parametrize("change", [add, remove, touch, replace, rename, forbid])
def test_a_changed_folder_is_decoded_anew_and_readers_keep_the_old(photographs, decoded, change):
    old = load(photographs)
    before = old.train_images.copy()
    decoded.clear()
    change(photographs)
    new = load(photographs)
    assert len(decoded) == len(list(photographs.iterdir()))
    assert_as_decoded_anew(new, photographs)
    np.testing.assert_array_equal(old.train_images, before)


def test_another_split_is_another_cache(photographs):
    load(photographs)
    assert_as_decoded_anew(load(photographs, test_share=0.5), photographs, test_share=0.5)


@pytest.mark.parametrize("stop_at", [0, 3, 4, 11, 21])
def test_goes_on_where_it_was_interrupted(photographs, decoded, stop_at):
    (photographs / "001.png").write_bytes(b"")  # a file without a row also counts as done
    order = [i for i in range(COUNT) if i not in (5, 16)] + [5, 16]  # training first
    decoded.stop_at = f"{order[stop_at]:03}.png"
    with pytest.raises(KeyboardInterrupt):
        load(photographs)
    decoded.stop_at = None
    decoded.clear()
    data = load(photographs)
    rest = order[stop_at - stop_at % CHUNK :]
    assert sorted(decoded) == sorted(f"{i:03}.png" for i in rest)
    assert_as_decoded_anew(data, photographs)


def test_interrupted_and_then_changed(photographs, decoded):
    decoded.stop_at = "013.png"
    with pytest.raises(KeyboardInterrupt):
        load(photographs)
    decoded.stop_at = None
    remove(photographs)
    assert_as_decoded_anew(load(photographs), photographs)


def test_interrupted_changed_and_changed_back(photographs, decoded, monkeypatch):
    """The old cache has enough bytes for the first new note, which must not count them."""
    load(photographs)
    monkeypatch.setattr(pixel_cache, "CHUNK", 99)
    add(photographs)
    decoded.stop_at = "016.png"  # the last one
    with pytest.raises(KeyboardInterrupt):
        load(photographs)
    assert cache_file(photographs, "pixels").stat().st_size == COUNT * 3 * 8 * 8
    decoded.stop_at = None
    (photographs / "0000.png").unlink()
    assert_as_decoded_anew(load(photographs), photographs)


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b"[" * 99_999, b'{"fingerprint": 1}', b"\xff\0", None]
)
def test_a_damaged_note_means_decoding_anew(photographs, decoded, note):
    load(photographs)
    decoded.clear()
    path = cache_file(photographs, "progress.json")
    path.unlink() if note is None else path.write_bytes(note)
    assert_as_decoded_anew(load(photographs), photographs)
    assert len(decoded) == 2 * COUNT


@pytest.mark.parametrize("lost", ["a byte", "everything"])
def test_missing_pixels_mean_decoding_anew(photographs, decoded, lost):
    load(photographs)
    decoded.clear()
    pixels = cache_file(photographs, "pixels")
    if lost == "everything":
        pixels.unlink()
    else:
        os.truncate(pixels, pixels.stat().st_size - 1)
    assert_as_decoded_anew(load(photographs), photographs)
    assert len(decoded) == 2 * COUNT


def test_a_full_disk_is_explained_and_what_is_done_is_kept(photographs, decoded, monkeypatch):
    threads = threading.active_count()
    fsync, calls = os.fsync, []

    def full_at_the_third_chunk(file):  # each flushes its pixels, its note and the note's folder
        calls.append(file)
        if len(calls) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(file)

    monkeypatch.setattr(os, "fsync", full_at_the_third_chunk)
    with pytest.raises(OSError, match=r"No space .* cache_dir or \$XDG_CACHE_HOME") as caught:
        load(photographs)
    assert caught.value.errno == errno.ENOSPC
    assert str(photographs.parent / "cache") in str(caught.value)
    assert threading.active_count() == threads
    decoded.clear()
    assert_as_decoded_anew(load(photographs), photographs)
    assert len(decoded) == COUNT - 2 * CHUNK + COUNT


def test_a_cache_that_cannot_be_written_is_explained(photographs):
    (photographs.parent / "cache").write_text("a file")
    with pytest.raises(OSError, match="cached in .*/cache/photographs-8-square-.* cache_dir or"):
        load(photographs)


def test_broken_files_are_left_out_and_named_every_time(photographs, capsys):
    for i in (5, 7, 8, 20):  # 5 is a test image
        (photographs / f"{i:03}.png").write_bytes(b"")
    for _ in range(2):
        data = load(photographs)
        assert len(data.train_images) == COUNT - 5 and len(data.test_images) == 1
        where = cache_file(photographs, "progress.json")
        assert capsys.readouterr().err == (
            "Skipped 4 of 22 files: 007.png (neither JPEG nor PNG), 008.png (neither JPEG nor "
            f"PNG), 020.png (neither JPEG nor PNG), ...; full list: {where}\n"
        )
    assert json.loads(where.read_text())["broken"].keys() == {f"{i:03}.png" for i in (5, 7, 8, 20)}
    expected = decode.decode(str(photographs / "009.png"), 8, None)
    np.testing.assert_array_equal(data.train_images[6], expected)


@pytest.mark.parametrize("survivors", [[], [0, 1, 2], [5]])
def test_both_sets_need_an_image_that_can_be_decoded(photographs, survivors, capsys):
    for i in set(range(COUNT)) - set(survivors):
        (photographs / f"{i:03}.png").write_bytes(b"")
    test = survivors.count(5)
    message = f"for training and for testing, found {len(survivors) - test} and {test}$"
    with pytest.raises(ValueError, match=message):
        load(photographs)
    assert capsys.readouterr().err.startswith(f"Skipped {COUNT - len(survivors)} of {COUNT} files")


def test_a_complete_cache_may_be_read_only(photographs, decoded, monkeypatch):
    first = load(photographs)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    cache_file(photographs, "lock").unlink()  # it must not be made again
    decoded.clear()
    again = load(photographs)
    assert (again.train_images == first.train_images).all()
    assert not decoded and not list((photographs.parent / "cache").glob("*/lock"))


LIES = {
    "negative": {"done": -1},
    "more than there are": {"done": COUNT + 1},
    "a fraction": {"done": 20.0},
    "a truth value": {"done": True},
    "text": {"done": "20"},
    "beyond all numbers": {"done": 1e999},
    "strangers are broken": {"broken": {"stranger.png": "?"}},
    "broken before its turn": {"done": 5, "broken": {"021.png": "?"}},
    "a list of the broken": {"broken": ["000.png"]},
    "broken is a number": {"broken": 1},
    "an unknown entry": {"train_rows": 20},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_note_that_cannot_be_true_means_decoding_anew(photographs, decoded, lie):
    load(photographs)
    decoded.clear()
    path = cache_file(photographs, "progress.json")
    with open(cache_file(photographs, "pixels"), "ab") as file:
        file.write(bytes(10_000))  # enough bytes, so that only the check of the note can fail
    path.write_text(json.dumps(json.loads(path.read_text()) | LIES[lie]))
    assert_as_decoded_anew(load(photographs), photographs)
    assert len(decoded) == 2 * COUNT


@pytest.mark.parametrize("name", ["pixels", "progress.json", "lock"])
def test_what_a_link_in_the_cache_leads_to_is_never_written(photographs, decoded, name):
    """Another user's file, with a link to it where the cache would write."""
    (photographs / "0001.png").write_bytes(b"")  # one row fewer, one more entry in the note
    decoded.stop_at = "019.png"
    with pytest.raises(KeyboardInterrupt):
        load(photographs)
    decoded.stop_at = None
    precious = photographs.parent / "precious"
    precious.write_bytes(bytes(range(256)) * 100)
    link = cache_file(photographs, "lock").with_name(name)
    link.unlink(missing_ok=True)
    link.symlink_to(precious)
    if name != "lock":  # decoded again, into a new file
        assert_as_decoded_anew(load(photographs), photographs)
        assert not link.is_symlink()
    else:
        with pytest.raises(OSError, match=f"symbolic links.* {link.parent}"):
            load(photographs)
    assert precious.read_bytes() == bytes(range(256)) * 100
