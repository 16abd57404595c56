"""Colour images, CelebA or any folder of photographs: which files train and which test."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from .dataset import Dataset, Verdict
from .decode import decode_all
from .pixel_cache import decode_once

SUFFIXES = (".jpg", ".jpeg", ".png")
PARTITION = "list_eval_partition.txt"
FACES = "img_align_celeba"
MAX_LINE = 1000  # characters in the list: four times the longest name of a file


def load_folder(
    folder: str | os.PathLike[str],
    size: int = 64,
    crop: int | None = None,
    test_share: float = 0.1,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load all JPEG and PNG files in a folder and its subfolders.

    They are decoded once and cached until a file is added, deleted or changed. Files that cannot
    be decoded are skipped, with a message on stderr.

    Parameters
    ----------
    folder : str or path-like
        Links to files in it are followed, links to folders are not.
    size : int
        Height and width of the resized images.
    crop : int, optional
        Side of the centred square cut out before resizing; by default the largest that fits.
    test_share : float
        Between 0 and 1. With 0.1 every tenth file, in the order of names, is a test image.
    cache_dir : str or path-like, optional
        The folder for decoded images; by default ``images`` in the user's cache folder.

    Returns
    -------
    Dataset
        Named ``"images:FOLDER"``; images (N, 3, size, size), read-only memmaps, and no labels.

    Raises
    ------
    ValueError
        If an argument is out of range, or fewer than two images can be decoded.
    OSError
        If the folder is missing or cannot be searched, or the cache cannot be written.
    """
    _check_sizes(size, crop)
    if not 0 < test_share < 1:
        raise ValueError(f"expected a test_share between 0 and 1, found {test_share}")
    root = Path(folder).expanduser().resolve()
    if folder == "":  # an unset variable in a shell; the current folder is named "."
        raise FileNotFoundError("expected the name of a folder of images, found an empty name")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    names = sorted(find_images(root))
    if len(names) < 2:
        raise ValueError(
            f"{root}: expected at least 2 images ({', '.join(SUFFIXES)}), one for training and "
            f"one for testing, found {len(names)}"
        )
    count = min(max(1, round(test_share * len(names))), len(names) - 1)
    # The middle file of each of `count` equal stretches of the list.
    chosen = {(2 * k + 1) * len(names) // (2 * count) for k in range(count)}
    train = [name for i, name in enumerate(names) if i not in chosen]
    test = [name for i, name in enumerate(names) if i in chosen]
    return Dataset(f"images:{root.name}", *decode_once(root, train, test, size, crop, cache_dir))


def load_celeba(
    folder: str | os.PathLike[str],
    size: int = 64,
    crop: int | None = 148,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load CelebA, the aligned and cropped faces, with the split of its authors.

    162,770 images for training, 19,962 for testing; the 19,867 for validation are left out.

    Parameters
    ----------
    folder : str or path-like
        Holds ``img_align_celeba/`` (unpacked) and ``list_eval_partition.txt``, or a folder
        ``celeba/`` with both.
    size, crop, cache_dir
        As for `load_folder`. A crop of 148 leaves little more than the face.

    Returns
    -------
    Dataset
        As from `load_folder`, named ``"celeba"``.

    Raises
    ------
    ValueError, OSError
        As for `load_folder`; also if the list is missing or damaged.
    """
    _check_sizes(size, crop)
    root = find_celeba(folder)
    if root is None or not (root / PARTITION).is_file():
        outer = Path(folder).expanduser().resolve()
        raise FileNotFoundError(
            f"celeba is not in {outer}: expected the folder {FACES}/ (unpacked from {FACES}.zip) "
            f"and the file {PARTITION}, both there or both in {outer / 'celeba'}"
        )
    train, _, test = _read_partition(root / PARTITION)
    return Dataset("celeba", *decode_once(root / FACES, train, test, size, crop, cache_dir))


def find_celeba(folder: str | os.PathLike[str]) -> Path | None:
    """The folder that holds CelebA: `folder`, or ``celeba/`` in it, or None."""
    outer = Path(folder).expanduser().resolve()
    return next((inner for inner in (outer, outer / "celeba") if (inner / FACES).is_dir()), None)


def _check_sizes(size: int, crop: int | None) -> None:
    for name, value in (("size", size), ("crop", 1 if crop is None else crop)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name}: expected an int of at least 1, found {value!r}")


def find_images(root: Path, inside: str = "") -> Iterator[str]:
    """The JPEG and PNG files in a folder and its subfolders, by their names relative to it."""
    with os.scandir(os.path.join(root, inside)) as entries:
        for entry in entries:
            name = os.path.join(inside, entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield from find_images(root, name)
            elif entry.name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue  # macOS writes ._a.jpg next to a.jpg
            elif entry.is_file() or entry.is_symlink():  # not pipes; decoding reports broken links
                yield name


def _read_partition(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Read lines such as "000001.jpg 0" into the names for training, validation and testing."""
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    seen = set()
    # Bytes that are not UTF-8 become backslashes, which a plain file name does not contain.
    with open(path, encoding="utf-8-sig", errors="backslashreplace") as lines:
        # Not `in lines`: a line could be as long as the file and exceed the memory.
        for number, line in enumerate(iter(partial(lines.readline, MAX_LINE), ""), 1):
            words = line.split()
            if len(words) != 2 or words[1] not in ("0", "1", "2"):
                fault = "expected a file name and 0, 1 or 2"
            elif not re.fullmatch(r"\w[\w.-]*", words[0]):  # it must stay in the folder
                fault = "expected a plain file name such as 000001.jpg"
            elif words[0] in seen:
                fault = "expected every file once"
            else:
                seen.add(words[0])
                parts[int(words[1])].append(words[0])
                continue
            raise ValueError(f"{path}, line {number}: {fault}, found {line[:80].rstrip()!r}")
    return parts


def verify_images(root: Path, names: Sequence[str]) -> Iterator[Verdict]:
    """Decode every image of a folder; `names` are relative to it."""
    paths = [os.path.join(root, name) for name in names]
    for path, result in zip(paths, decode_all(paths, 64, None, ahead=512), strict=True):
        damage = result if isinstance(result, str) else ""
        yield Verdict(Path(path), "damaged" if damage else "ok", damage)
