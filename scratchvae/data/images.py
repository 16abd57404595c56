"""Pictures in folders: which files train, validate and test. Any folder, and CelebA.

Folders named ``train`` beside ``test`` (or ``val``) are the user's own split, at any depth.
Otherwise every stretch of ten files, in the order of their names, gives one test image. If the
folder has a subfolder for each class, or a file ``labels.csv``, the images get labels.
"""

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..output import note, open_file
from .cache import Part, decode_once
from .dataset import Dataset, Verdict, brightest_and_flat, doubts, spread
from .decode import decode_all
from .options import ImageOptions, image_options

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
PARTS = {
    **dict.fromkeys(("train", "training", "train_set", "training_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "val_set", "validation_set"), "validation"),
    **dict.fromkeys(("test", "testing", "test_set", "testing_set"), "test"),
}
HELD_OUT = {"validation", "test"}
PURPOSE = {"train": "training", "validation": "validation", "test": "testing"}
# Made by Jupyter, macOS, Synology, QNAP, Windows and Linux.
HIDDEN = re.compile(
    r"\..*|__MACOSX|@eaDir|@tmp|@Recycle|@__thumb|#recycle|#snapshot|\$RECYCLE\.BIN|lost\+found|"
    "System Volume Information",
    re.IGNORECASE,
)
PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")  # the authors', Kaggle's
FACES, LABELS = "img_align_celeba", "labels.csv"
SIZE, FACE = (64, 64), 148  # pixels: of an image by default; of the square cut out of CelebA's
MAX_LINE = 1000  # characters in the list: four times the longest name of a file
MAX_CONFIG = 1 << 20  # bytes of the config.json of a run


def load_folder(
    folder: str | os.PathLike[str],
    *,
    test_share: float = 0.1,
    cache_dir: str | os.PathLike[str] | None = None,
    split: str = "spread",
    say: Callable[[str], None] = note,
    **images: Any,
) -> Dataset:
    """Load all JPEG, PNG, WebP, BMP, TIFF, GIF and PPM files in a folder and its subfolders.

    They are decoded once and cached until a file is added, deleted or changed. A line tells how
    many files were read and why others were not: damaged, of another format, in a hidden folder,
    behind a link to a folder, plots of a run.

    Parameters
    ----------
    folder : str or path-like
    test_share : float
        Between 0 and 1: of the images, if the folder has no split of its own.
    cache_dir : str or path-like, optional
        The folder for decoded images; by default ``images`` in the user's cache folder.
    split : {"spread", "tail"}
        "tail" selects as version 0.1 did, for its runs: JPEG and PNG files only, hidden folders
        included, all in one list, every tenth for testing.
    say : callable
        Receives each line. Default: print it on stderr.
    **images
        image_size (default: 64), grey, crop, background and value_range, see `image_options`.

    Returns
    -------
    Dataset
        Named ``"images:FOLDER"``; images (N, C, H, W), read-only memmaps.

    Raises
    ------
    ValueError
        If an argument is out of range, the folder is that of a run, or there are no images for
        training or for testing.
    OSError
        If the folder is missing or cannot be searched, a file cannot be read because of the
        machine, or the cache cannot be written.
    """
    options = image_options(**images)
    if not 0 < test_share < 1:
        raise ValueError(f"expected a test_share between 0 and 1, found {test_share}")
    if split not in ("spread", "tail"):
        raise ValueError(f"split: expected spread or tail, found {split!r}")
    root = _existing(folder)
    found = find_images(root, old=split == "tail")
    names = found.names
    if not found.split and len(names["train"]) > 1:
        names = _split(names["train"], test_share, split)
    if not (names["train"] and names["test"]):
        raise ValueError(
            f"{root}: expected at least 2 images, one for training and one for testing; "
            f"{found.in_words()}"
        )
    files, options = [*names.values()], _filled(options, None)
    parts = train, validation, test = _decoded(
        root.name, root, files, options, cache_dir, say, found.in_words
    )
    every = _labels(root, [name for part in parts for name in part.names], found.split, say)
    classes = sorted({*every}) if len({*every}) > 1 else None
    labels: list[Any] = [None, None, None]
    if classes:
        number = {name: i for i, name in enumerate(classes)}
        ends = len(train.names), len(train.names) + len(validation.names)
        labels = np.split(np.array([number[label] for label in every]), ends)
    mine = {"validation_images": validation.images, "validation_names": validation.names}
    mine |= {"validation_labels": labels[1]}
    return Dataset(
        f"images:{root.name}",
        train.images,
        test.images,
        labels[0],
        labels[2],
        train_names=train.names,
        test_names=test.names,
        classes=classes,
        **cast(dict[str, Any], mine if validation.names else {}),
    )


def load_celeba(
    folder: str | os.PathLike[str],
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = note,
    **images: Any,
) -> Dataset:
    """Load CelebA, the aligned and cropped faces, with the split of its authors.

    162,770 images for training, 19,962 for testing; the 19,867 for validation are left out.

    Parameters
    ----------
    folder : str or path-like
        Holds ``img_align_celeba/`` (unpacked; also one inside the other, as Kaggle has it) and
        ``list_eval_partition.txt`` or ``.csv``; or a folder ``celeba/`` with both.
    cache_dir, say, **images
        As for `load_folder`. By default a centred square of 148 is cut out, little more than the
        face.

    Returns
    -------
    Dataset
        As from `load_folder`, named ``"celeba"``, without labels.

    Raises
    ------
    ValueError, OSError
        As for `load_folder`; also if the list is missing or damaged, or its files are absent.
    """
    options = image_options(**images)
    root, present = celeba_files(folder, say)
    options = _filled(options, FACE)
    train, test = _decoded("celeba", root, present, options, cache_dir, say, _in_words)
    return Dataset(
        "celeba", train.images, test.images, train_names=train.names, test_names=test.names
    )


def celeba_files(
    folder: str | os.PathLike[str], say: Callable[[str], None]
) -> tuple[Path, list[list[str]]]:
    """The folder of CelebA's images, and the files for training and for testing that are there.
    Raises as `load_celeba`."""
    root, partition = find_celeba(folder)
    if root is None or partition is None:
        outer = Path(folder).expanduser().resolve()
        raise FileNotFoundError(
            f"celeba is not in {outer}: expected the folder {FACES}/ (unpacked from {FACES}.zip) "
            f"and the file {' or '.join(PARTITIONS)}, both there or both in {outer / 'celeba'}"
        )
    train, _, test = _read_partition(partition)
    listed, there = [*train, *test], set(os.listdir(root))
    absent = [name for name in listed if name not in there]
    if len(absent) == len(listed):
        raise FileNotFoundError(
            f"none of the {len(listed):,} files that {partition} names is in {root}"
        )
    if absent:
        say(
            f"celeba: {len(absent):,} of {len(listed):,} listed files are not in {root} "
            f"({_some(absent)})"
        )
    return root, [[name for name in part if name in there] for part in (train, test)]


def find_celeba(folder: str | os.PathLike[str]) -> tuple[Path | None, Path | None]:
    """The folder of CelebA's images and the list of its split, or None for what is missing."""
    outer = Path(folder).expanduser().resolve()
    for inner in (outer, outer / "celeba"):
        for root in (inner / FACES / FACES, inner / FACES):
            if root.is_dir():
                lists = (outer / name for outer in (inner, inner / FACES) for name in PARTITIONS)
                return root, next((path for path in lists if path.is_file()), None)
    return None, None


def _decoded(
    name: str,
    root: Path,
    files: Sequence[list[str]],
    options: ImageOptions,
    cache_dir: str | os.PathLike[str] | None,
    say: Callable[[str], None],
    in_words: Callable[[dict[str, str]], str],
) -> list[Part]:
    """The decoded parts, the first for training and the last for testing; `say` receives what was
    read, with `in_words` of the damaged files, and what is doubtful."""
    parts, damaged, lines = decode_once(root, files, options, cache_dir, say)
    train, test = parts[0], parts[-1]
    if line := in_words(damaged):
        say(f"{name}: {line}")
    if not (train.names and test.names):
        raise ValueError(
            f"{root}: expected readable images for training and for testing, found "
            f"{len(train.names)} and {len(test.names)}{', ' * bool(damaged)}{_in_words(damaged)}"
        )
    for line in lines or _repeated(train, test):  # images of one colour are all alike
        say(f"warning: {name}: {line}")
    return parts


def _existing(folder: str | os.PathLike[str]) -> Path:
    if folder == "":  # an unset variable in a shell; the current folder is named "."
        raise FileNotFoundError("expected the name of a folder of images, found an empty name")
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    return root


def _filled(options: ImageOptions, crop: int | None) -> ImageOptions:
    """The options with a size, and with the data set's own crop if none is asked for."""
    return options._replace(size=options.size or SIZE, crop=options.crop or crop)


@dataclass
class Found:
    """The image files in a folder, by part and in order, and what was left out."""

    names: dict[str, list[str]]  # train, validation, test; all in train if there is no split
    split: bool = False
    other_formats: Counter[str] = field(default_factory=Counter)  # by extension
    links: int = 0  # to folders
    hidden: list[str] = field(default_factory=list)  # folders
    runs: int = 0  # folders of runs
    outside: int = 0  # images outside of the folders of the split

    def in_words(self, damaged: dict[str, str] | None = None) -> str:
        """How many files there are, how many are read, and why others are not, in one line. Without
        `damaged`, nothing has been read yet."""
        images, others = sum(map(len, self.names.values())), self.other_formats.total()
        words = [f"{_count(images + others + self.outside, 'file')}: "]
        if damaged is None:
            words[0] += f"{images:,} to read"
        else:
            words[0] += f"{images - len(damaged):,} read"
        if damaged:
            words.append(_in_words(damaged))
        if others:
            by_count = sorted(self.other_formats.items(), key=lambda item: (-item[1], item[0]))
            kinds = [f"{kind} {count:,}" for kind, count in by_count]
            words.append(f"{others:,} of other formats left out ({_some(kinds)})")
        if self.outside:
            words.append(f"{self.outside:,} outside the folders of the split left out")
        if self.links:
            words.append(f"{_count(self.links, 'link')} to folders not followed")
        if self.hidden:
            folders = _count(len(self.hidden), "hidden folder")
            words.append(f"{folders} left out ({_some(self.hidden)})")
        if self.runs:
            words.append(f"{_count(self.runs, 'run')} of scratchvae skipped")
        if self.split:
            counts = [
                f"{len(names):,} for {PURPOSE[part]}" for part, names in self.names.items() if names
            ]
            words.append(f"split by folders: {', '.join(counts)}")
        return ", ".join(words)


def find_images(root: Path, old: bool = False) -> Found:
    """The image files in a folder and its subfolders, by their names relative to it.

    `old`: as version 0.1 selected them. Links to files are followed, links to folders are not. Runs
    are skipped: a run among its own images would find its plots. ValueError if `root` is a run.
    """
    if is_run(root):
        raise ValueError(f"{root} is the folder of a run: choose a folder of pictures")
    names: dict[str, list[str]] = {"train": [], "validation": [], "test": [], "": []}
    found = Found(names)
    suffixes = (".jpg", ".jpeg", ".png") if old else SUFFIXES
    folders = [("", "")]  # name, part; "" stands for no part
    while folders:
        inside, part = folders.pop()
        with os.scandir(os.path.join(root, inside)) as entries:
            listed = [*entries]
        inner = {
            e.name: PARTS.get(e.name.lower()) for e in listed if e.is_dir(follow_symlinks=False)
        }
        # A link that bears such a name is not followed, but test/ beside it is still no class.
        linked = {
            PARTS.get(e.name.lower()) for e in listed if e.is_symlink() and os.path.isdir(e.path)
        }
        runs = {name for name in inner if is_run(os.path.join(root, inside, name))}
        kinds = {inner[name] for name in inner.keys() - runs} | linked
        splits = not (old or part) and "train" in kinds and not kinds.isdisjoint(HELD_OUT)
        found.split |= splits
        for entry in listed:
            name = os.path.join(inside, entry.name)
            if entry.name in inner:
                if not old and HIDDEN.fullmatch(entry.name):
                    found.hidden.append(name)
                elif entry.name in runs:
                    found.runs += 1
                else:
                    folders.append((name, (inner[entry.name] or "") if splits else part))
            elif os.path.isdir(entry.path):  # a link
                found.links += 1
            elif entry.name.startswith(".") or name == LABELS:  # macOS writes ._a.jpg next to a.jpg
                continue
            elif entry.name.lower().endswith(suffixes) and (
                entry.is_symlink() or entry.is_file()  # not pipes; decoding reports broken links
            ):
                names[part].append(name)
            else:
                suffix = os.path.splitext(entry.name)[1][1:].lower() or "no extension"
                found.other_formats[suffix if os.path.isfile(entry.path) else "no file"] += 1
    beside = names.pop("")
    if found.split:
        found.outside = len(beside)
    else:
        names["train"] = beside
    if not names["test"]:  # train/ and val/ alone
        names["test"], names["validation"] = names["validation"], []
    for files in names.values():
        files.sort()
    found.hidden.sort()
    return found


def is_run(folder: str | os.PathLike[str]) -> bool:
    """Whether the folder is that of a run, finished or not: its config.json has our form."""
    try:
        with open_file(os.path.join(folder, "config.json"), MAX_CONFIG) as file:
            found = json.loads(file.read(MAX_CONFIG))
    except (OSError, ValueError, RecursionError):
        return False
    ours = isinstance(found, dict) and isinstance(found.get("options"), dict)
    return ours and type(found.get("format")) is int


def _split(names: list[str], share: float, rule: str) -> dict[str, list[str]]:
    """Take a share of the list for testing, from all of its stretches."""
    count = min(max(1, round(share * len(names))), len(names) - 1)
    if rule == "tail":  # the middle file of each stretch, as version 0.1 did
        chosen = {(2 * k + 1) * len(names) // (2 * count) for k in range(count)}
    else:
        chosen = {*spread(count, len(names)).tolist()}
    train = [name for i, name in enumerate(names) if i not in chosen]
    return {"train": train, "validation": [], "test": [names[i] for i in sorted(chosen)]}


def _labels(root: Path, names: Sequence[str], split: bool, say: Callable[[str], None]) -> list[str]:
    """The class of each file: from labels.csv, or its subfolder; [] if there are none."""
    if (root / LABELS).is_file():
        known = _read_labels(root / LABELS)
        found = [known.get(name) or known.get(os.path.basename(name)) or "none" for name in names]
        if missing := found.count("none"):
            say(
                f"warning: {root.name}: {LABELS} has no class for {missing:,} of {len(names):,} "
                "images; a row is a file name, relative to the folder, and a class"
            )
        return found
    folders = [_folders(name, split) for name in names]
    ends = zip(min(folders), max(folders), strict=False)
    same = len([*takewhile(lambda pair: pair[0] == pair[1], ends)])  # photos/flowers/rose/1.jpg
    outside = sum(len(path) == same for path in folders)
    if 0 < outside < len(names) and not split:
        say(
            f"{root.name}: no classes, because {_count(outside, 'image')} of {len(names):,} "
            f"{'lies' if outside == 1 else 'lie'} outside the subfolders"
        )
    return [] if outside else [path[same] for path in folders]


def _folders(name: str, split: bool) -> tuple[str, ...]:
    """The folders of a file, without the one that names its part."""
    *folders, _ = name.split(os.sep)
    part = next((i for i, folder in enumerate(folders) if folder.lower() in PARTS), None)
    if split and part is not None:
        del folders[part]
    return (*folders,)


def _read_labels(path: Path) -> dict[str, str]:
    """Rows of a file name and a class. A heading does no harm: it names no file."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        try:
            rows = [*csv.reader(lines)]
        except csv.Error as error:
            raise ValueError(f"{path}: {error}") from None
    for number, row in enumerate(rows, 1):
        if row and len(row) < 2:
            raise ValueError(
                f"{path}, row {number}: expected a file name, a comma and a class in UTF-8, found "
                f"{str(row)[:80]}"
            )
    return {os.path.normpath(row[0].replace("\\", "/")): row[1].strip() for row in rows if row}


def _repeated(train: Part, test: Part) -> list[str]:
    """A sentence about test images whose pixels are also those of a training image, if any."""
    known = dict(zip(train.digests, train.names, strict=True))
    pairs = [
        f"{name} = {known[digest]}"
        for name, digest in zip(test.names, test.digests, strict=True)
        if digest in known
    ]
    few = f"{len(pairs):,} of {len(test.names):,} test images are training images, too"
    return [f"{few} ({_some(pairs)}): the model has seen them"] if pairs else []


def _in_words(damaged: dict[str, str]) -> str:
    named = [f"{name}: {why}" for name, why in damaged.items()]
    return f"{len(named):,} cannot be read ({_some(named)})" if named else ""


def _some(names: Sequence[str]) -> str:
    """The first names of a list, for a message."""
    return ", ".join([*names[:3], *["..."] * (len(names) > 3)])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _read_partition(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Read lines such as "000001.jpg 0" (or "000001.jpg,0" under a heading) into the names for
    training, validation and testing."""
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    seen = set()
    # Bytes that are not UTF-8 become backslashes, which a plain file name does not contain.
    with open(path, encoding="utf-8-sig", errors="backslashreplace") as lines:
        # Not `in lines`: a line could be as long as the file and exceed the memory.
        for number, line in enumerate(iter(partial(lines.readline, MAX_LINE), ""), 1):
            words = line.replace(",", " ").split()
            if number == 1 and words == ["image_id", "partition"]:
                continue
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


def verify_images(
    root: Path, names: Sequence[str], options: ImageOptions, say: Callable[[str], None]
) -> Iterator[Verdict]:
    """Decode every image of a folder; `names` are relative to it. `say` receives the doubts."""
    paths = [os.path.join(root, name) for name in names]
    seen = [(0, 0)]
    results = decode_all(paths, options._replace(size=SIZE), ahead=512)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, str):
            yield Verdict(Path(path), "damaged", result)
        else:
            seen.append(brightest_and_flat(result[None]))
            yield Verdict(Path(path), "ok")
    levels, flat = zip(*seen, strict=True)
    for line in doubts(max(levels), sum(flat), len(seen) - 1):
        say(line)
