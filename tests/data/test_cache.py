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
from PIL import Image

from scratchvae.data import cache, decode, images, spread
from scratchvae.data.options import image_options

COUNT, CHUNK = 22, 4  # files in the folder, pictures between two notes
TEST = spread(2, COUNT).tolist()  # the test images; these are decoded last
ORDER = [i for i in range(COUNT) if i not in TEST] + TEST


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A folder of `COUNT` pictures; every fourth is saved at once."""
    monkeypatch.setattr(cache, "CHUNK", CHUNK)
    monkeypatch.setattr(decode, "GROUP", 1)
    return write_photographs(tmp_path / "photographs", COUNT)


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files decoded so far; `stop_at` simulates Ctrl-C at a file."""

    class Names(list):
        def stop_at(self, name, folder):
            self.last = name
            with pytest.raises(KeyboardInterrupt):
                load(folder)
            self.last = None
            self.clear()

    names, real = Names(), decode.decode_or_reason
    names.last = None

    def watched(path, *rest):
        if Path(path).name == names.last:
            raise KeyboardInterrupt
        names.append(Path(path).name)
        return real(path, *rest)

    monkeypatch.setattr(decode, "decode_or_reason", watched)
    return names


def assert_as_decoded_anew(data, folder, **options):
    fresh = load(folder, cache=f"another cache {time.monotonic_ns()}", **options)
    np.testing.assert_array_equal(data.train_images, fresh.train_images)
    np.testing.assert_array_equal(data.test_images, fresh.test_images)


def test_rows_are_what_decode_gives_and_one_line_is_said(photographs, capfd):
    data = load(photographs, crop=9, test_share=0.5)
    names = [*data.train_names, *data.test_names]
    assert sorted(names) == [f"{i:03}.png" for i in range(COUNT)]
    for name, image in zip(names, [*data.train_images, *data.test_images], strict=True):
        expected = decode.decode((photographs / name).read_bytes(), image_options(8, crop=9))
        np.testing.assert_array_equal(image, expected)
    assert capfd.readouterr() == ("", "photographs: 22 files: 22 read\n")


def test_the_cache_is_an_npy_file_which_the_images_cannot_change(photographs):
    data = load(photographs, size="native")
    pixels = np.load(cache_file(photographs, "pixels.npy"))
    assert pixels.shape == (COUNT, 3, 12, 14)
    np.testing.assert_array_equal(pixels, [*data.train_images, *data.test_images])
    for found in (data.train_images, data.test_images):
        assert isinstance(found, np.memmap) and found.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            found[:] = 0


def test_decoded_once(photographs, decoded):
    first = load(photographs)
    assert sorted(decoded) == [f"{i:03}.png" for i in range(COUNT)]
    second = load(photographs)
    assert len(decoded) == COUNT
    np.testing.assert_array_equal(first.train_images, second.train_images)
    np.testing.assert_array_equal(first.test_images, second.test_images)


def test_kept_in_the_users_cache_folder_one_folder_for_each(photographs, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(photographs.parent / "xdg"))
    twin = write_photographs(photographs.parent / "elsewhere" / photographs.name, 2)
    for folder, size, crop in ((photographs, 8, None), (photographs, 9, 5), (twin, 8, None)):
        for asked in (crop, None):
            images.load_folder(folder, image_size=size, crop=asked)
    kept = list((photographs.parent / "xdg/scratchvae/images").glob("photographs-*/pixels.npy"))
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
    decoded.stop_at(f"{ORDER[stop_at]:03}.png", photographs)
    data = load(photographs)
    rest = ORDER[stop_at - stop_at % CHUNK :]
    assert sorted(decoded) == sorted(f"{i:03}.png" for i in rest)
    assert_as_decoded_anew(data, photographs)


@pytest.mark.parametrize("back", [False, True])
def test_interrupted_and_changed_perhaps_back(photographs, decoded, monkeypatch, back):
    """The old pixels, which are many enough for the first new note, must not count."""
    load(photographs)
    monkeypatch.setattr(cache, "CHUNK", 99 if back else CHUNK)
    add(photographs)
    decoded.stop_at(f"{TEST[-1]:03}.png", photographs)  # the last one
    (photographs / ("0000.png" if back else "003.png")).unlink()
    assert_as_decoded_anew(load(photographs), photographs)


ROW, HEADER = 3 * 8 * 8, 128  # bytes


def swap(pixels):
    rows = [slice(HEADER + k * ROW, HEADER + (k + 1) * ROW) for k in (8, 9)]
    pixels[rows[0]], pixels[rows[1]] = pixels[rows[1]], pixels[rows[0]]


def flip_a_bit(pixels):
    pixels[HEADER + 10 * ROW] ^= 1


def cut_short(pixels):
    del pixels[HEADER + 9 * ROW + 5 :]


def cut_to_nothing(pixels):
    del pixels[:]


@pytest.mark.parametrize("damage", [swap, flip_a_bit, cut_short, cut_to_nothing])
def test_changed_pixels_are_found_said_and_decoded_again(photographs, decoded, capsys, damage):
    load(photographs)
    path = cache_file(photographs, "pixels.npy")
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    decoded.clear()
    capsys.readouterr()
    data = load(photographs)
    again = COUNT if damage is cut_to_nothing else COUNT - 2 * CHUNK  # the damage is in chunk 2
    assert len(decoded) == again
    first, second = capsys.readouterr().err.splitlines()
    assert first == (
        f"the cache {path} is damaged (its pixels have changed): decoding {again} files again"
    )
    assert second == "photographs: 22 files: 22 read"
    assert_as_decoded_anew(data, photographs)


def test_a_damaged_header_is_written_again(photographs, decoded):
    load(photographs)
    decoded.clear()
    path = cache_file(photographs, "pixels.npy")
    content = path.read_bytes()
    path.write_bytes(bytes(HEADER) + content[HEADER:])
    assert_as_decoded_anew(load(photographs), photographs)
    assert path.read_bytes() == content and len(decoded) == COUNT


def test_a_disk_that_forgets_is_the_disks_fault(photographs, monkeypatch):
    read = np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *a, **k: read(*a, **k) ^ 1)
    with pytest.raises(OSError, match="the bytes read from the disk"):
        load(photographs)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOMEM, errno.ESTALE, errno.EMFILE])
def test_a_fault_of_the_machine_is_not_noted_as_a_broken_file(photographs, monkeypatch, code):
    """With the reader that fails from the tenth file on: 9 files are sound, 13 of unknown state."""
    real, opened = decode.open_file, []

    def failing(path, at_most):
        opened.append(path)
        if len(opened) > 9:
            raise OSError(code, os.strerror(code), path)
        return real(path, at_most)

    monkeypatch.setattr(decode, "open_file", failing)
    with pytest.raises(OSError, match="try again") as caught:
        load(photographs)
    assert caught.value.errno == code and caught.value.filename.endswith(".png")
    monkeypatch.setattr(decode, "open_file", real)
    data = load(photographs)
    assert len(data.train_images) + len(data.test_images) == COUNT
    assert_as_decoded_anew(data, photographs)


def test_two_files_swapped_are_noticed(photographs):
    """Equal sizes and times: only inodes and ctimes differ."""
    first, second = photographs / "003.png", photographs / "004.png"
    pixels = Image.new("RGB", (9, 9), (1, 2, 3)), Image.new("RGB", (9, 9), (3, 2, 1))
    for path, image in zip((first, second), pixels, strict=True):
        image.save(path)
        os.utime(path, (1, 1))
    assert first.stat().st_size == second.stat().st_size
    load(photographs)
    first.rename(photographs.parent / "third")
    second.rename(first)
    (photographs.parent / "third").rename(second)
    assert_as_decoded_anew(load(photographs), photographs)


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")
@pytest.mark.parametrize("trouble", ["owner", "mode", "link"])
def test_a_folder_of_another_user_is_not_taken(photographs, monkeypatch, trouble):
    load(photographs)
    folder = cache_file(photographs, "note.json").parent
    if trouble == "mode":
        folder.chmod(0o777)
    elif trouble == "link":
        folder.rename(folder.with_name("elsewhere"))
        folder.symlink_to(folder.with_name("elsewhere"))
    else:
        monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
        if folder.stat().st_uid == 0:  # root is trusted
            os.chown(folder, 12345, -1)
    with pytest.raises(PermissionError, match=r"another user|other users|is a link") as caught:
        load(photographs)
    assert "cache_dir" in str(caught.value)


def test_a_full_disk_is_explained_and_what_is_done_is_kept(photographs, decoded, monkeypatch):
    threads = threading.active_count()
    fsync, calls = os.fsync, []

    def full_at_the_third_chunk(file):  # each flushes its note and the note's folder
        calls.append(file)
        if len(calls) == 5:
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
    with pytest.raises(OSError, match="cached in .*/cache/photographs-8x8-.* cache_dir or"):
        load(photographs)


def test_broken_files_are_left_out_and_named_every_time(photographs, capsys):
    for i in (1, 2, 20, TEST[0]):
        (photographs / f"{i:03}.png").write_bytes(b"")
    for _ in range(2):
        data = load(photographs)
        assert len(data.train_images) == COUNT - 5 and len(data.test_images) == 1
        assert capsys.readouterr().err == (
            "photographs: 22 files: 18 read, 4 cannot be read (001.png: not an image, 002.png: not "
            "an image, 020.png: not an image, ...)\n"
        )
    expected = decode.decode((photographs / "003.png").read_bytes(), image_options(8))
    np.testing.assert_array_equal(data.train_images[1], expected)
    assert data.train_names[1] == "003.png"


@pytest.mark.parametrize("survivors", [[], [0, 1, 2], [TEST[0]]])
def test_both_sets_need_an_image_that_can_be_decoded(photographs, survivors, capsys):
    for i in set(range(COUNT)) - set(survivors):
        (photographs / f"{i:03}.png").write_bytes(b"")
    test = survivors.count(TEST[0])
    message = f"for training and for testing, found {len(survivors) - test} and {test}, "
    with pytest.raises(ValueError, match=message):
        load(photographs)
    assert f" {len(survivors)} read, {COUNT - len(survivors)} cannot" in capsys.readouterr().err


def test_a_complete_cache_may_be_read_only(photographs, decoded, monkeypatch):
    first = load(photographs)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    cache_file(photographs, "lock").unlink()  # it must not be made again
    decoded.clear()
    again = load(photographs)
    assert (again.train_images == first.train_images).all()
    assert not decoded and not list((photographs.parent / "cache").glob("*/lock"))


LIES = {
    "more chunks than there are": {"digests": ["?"] * 7},
    "digests are numbers": {"digests": [1, 2, 3, 4, 5, 6]},
    "digests are a number": {"digests": 5},
    "digests are text": {"digests": "abcdef"},
    "digests have names": {"digests": {"a": 1}},
    "far too many": {"digests": ["?"] * 99},
    "an unknown file is damaged": {"damaged": [[COUNT, "?"]]},
    "a negative index": {"damaged": [[-1, "?"]]},
    "a fraction": {"damaged": [[1.0, "?"]]},
    "a truth value": {"damaged": [[True, "?"]]},
    "one twice": {"damaged": [[1, "?"], [1, "?"]]},
    "in disorder": {"damaged": [[2, "?"], [1, "?"]]},
    "damaged before its turn": {"digests": [], "damaged": [[21, "?"]]},
    "no reason": {"damaged": [[1]]},
    "a reason that is no text": {"damaged": [[1, 2]]},
    "damaged is a number": {"damaged": 1},
    "an unknown entry": {"train_rows": 20},
    **{
        repr(text[:9]): text
        for text in (b"", b"{", b"[]", b"[" * 99_999, b'{"fingerprint": 1}', b"\xff")
    },
    "no note": "note.json",
    "no pixels": "pixels.npy",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_note_that_is_not_true_means_decoding_anew(photographs, decoded, lie):
    load(photographs)
    decoded.clear()
    path, content = cache_file(photographs, "note.json"), LIES[lie]
    if isinstance(content, str):
        cache_file(photographs, content).unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | content))
    assert_as_decoded_anew(load(photographs), photographs)
    assert len(decoded) == 2 * COUNT


@pytest.mark.parametrize("name", ["pixels.npy", "note.json", "lock"])
def test_what_a_link_in_the_cache_leads_to_is_never_written(photographs, decoded, name):
    """Another user's file, with a link to it where the cache would write."""
    (photographs / "0001.png").write_bytes(b"")  # one row fewer, one more entry in the note
    decoded.stop_at(f"{ORDER[-3]:03}.png", photographs)
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


@pytest.fixture
def no_locks(monkeypatch):
    """As on some network file systems."""

    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cache, "lock", refuse)


def test_without_locks_it_is_said_once_and_decoded_once(photographs, decoded, no_locks):
    lines = []
    old = load(photographs, say=lines.append)
    before = old.train_images.copy()
    path = cache_file(photographs, "pixels.npy")
    assert lines[0] == (
        f"the cache {path.parent} cannot be locked (No locks available): what is decoded is kept "
        "only when all files are done; a folder that can be locked is better ($XDG_CACHE_HOME, "
        "cache_dir)"
    )
    decoded.clear()
    load(photographs, say=lines.append)
    assert not decoded and lines[1:] == ["photographs: 22 files: 22 read"] * 2
    content = bytearray(path.read_bytes())
    flip_a_bit(content)
    path.unlink()
    path.write_bytes(content)
    assert_as_decoded_anew(load(photographs), photographs)
    remove(photographs)
    decoded.stop_at("013.png", photographs)
    np.testing.assert_array_equal(old.train_images, before)
    assert sorted(os.listdir(path.parent)) == ["lock", "note.json", "pixels.npy"]


@pytest.mark.parametrize(
    ("complete", "moment"),
    [(False, "decode_rest"), (False, "check"), (False, "map"), (True, "check"), (True, "map")],
)
@pytest.mark.parametrize("change", [touch, replace, remove])
def test_two_unlocked_processes_at_once(
    photographs, no_locks, monkeypatch, complete, moment, change
):
    """While one is at work, a file changes, and the other process does all of its own work."""
    real, other = getattr(cache._Cache, moment), []
    before = load(photographs, cache="before")
    if complete:
        load(photographs)

    def meanwhile(self, *arguments):
        monkeypatch.setattr(cache._Cache, moment, real)
        change(photographs)
        other.append(load(photographs))
        return real(self, *arguments)

    monkeypatch.setattr(cache._Cache, moment, meanwhile)
    found = load(photographs)
    after = load(photographs, cache="after")
    np.testing.assert_array_equal(other[0].train_images, after.train_images)
    as_before = [*found.train_names] == [*before.train_names] and np.array_equal(
        found.train_images, before.train_images
    )
    assert as_before or np.array_equal(found.train_images, after.train_images)
    np.testing.assert_array_equal(load(photographs).train_images, after.train_images)


def test_another_fault_of_the_lock_is_told(photographs, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(cache, "lock", fail)
    with pytest.raises(OSError, match="Input/output error; decoded images are cached in"):
        load(photographs)
