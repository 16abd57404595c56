"""`scratchvae data`: list, download and verify data sets."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from ..data import DATASETS, find_celeba, load_arrays
from ..data.arrays import split_key
from ..data.dataset import Verdict, doubts_about
from ..data.images import FACES, PARTITIONS, celeba_files, find_images, verify_images
from ..data.options import image_options
from ..data.sources import (
    SOURCES,
    cache_of,
    download_files,
    find_files,
    find_on_disk,
    verify_files,
)
from ..output import cache_folder, note, progress, table, warn
from .options import add_command, option, show, text, unknown

DRAWN = ("glyphs", "faces")


def add(commands: Any) -> None:
    parser = add_command(
        commands, "data", run_list, "list, download and verify data sets",
        ". Without a command: `scratchvae data list`.",
        "scratchvae data",
        "scratchvae data fetch mnist",
        "scratchvae data verify images:photographs",
    )  # fmt: skip
    parser.set_defaults(names=[])
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")

    inner = add_command(
        actions, "list", run_list, "show which data sets are on this machine, and where",
        ". This downloads, draws and decodes nothing.",
        "scratchvae data list",
        "scratchvae data list mnist images:photographs",
    )  # fmt: skip
    option(inner, "names NAME", text, ", ".join(DATASETS), nargs="*")

    inner = add_command(
        actions, "fetch", run_fetch, "download a data set into the cache",
        ", except for files that are there already, and verify it.",
        "scratchvae data fetch fashion-mnist",
    )  # fmt: skip
    option(inner, "name NAME", tuple(SOURCES), ", ".join(SOURCES))

    inner = add_command(
        actions, "verify", run_verify, "check every file of a data set",
        ": downloaded files by their hashes, other images and arrays by reading them. The exit "
        "status is 0 only if all files are ok.",
        "scratchvae data verify mnist --data-dir mnist",
        "scratchvae data verify images:photographs",
    )  # fmt: skip
    option(inner, "name NAME", text, ", ".join(name for name in DATASETS if name not in DRAWN))
    option(inner, "--data-dir DIR", text, "look only in this folder; not with images: or arrays:")
    values = "the values of black and white, for images: and arrays:"
    option(inner, "--value-range BLACK,WHITE", text, values)


def run_list(args: argparse.Namespace) -> int:
    names = args.names or [name for name in DATASETS if ":" not in name]
    found = [(name, *locate(name)) for name in names]
    words = {True: "found", False: "missing", None: "drawn"}
    rows = [[name, words[there], where] for name, there, where in found]
    lines = [table([["data set", "status", "location"], *rows]), ""]
    if not args.names:
        lines += [
            "images:FOLDER: any folder of pictures; arrays:FILE: a .npy or .npz file of NumPy;",
            "drawn: made here when needed",
            "",
        ]
    cache = _cache()
    size = _bytes_in(cache) if cache else 0
    lines.append(f"cache: {cache or 'none (no home directory)'}, {size / 1e6:,.1f} MB")
    datasets = [{"name": name, "there": there, "where": where} for name, there, where in found]
    result = {"datasets": datasets, "cache": {"folder": cache, "bytes": size}}
    show(args, result, "\n".join(lines))
    return 0


def locate(name: str) -> tuple[bool | None, str]:
    """Whether a data set is there (None: it is drawn when needed), and where it is or should be.
    ValueError if the name is unknown."""
    if name in SOURCES:
        files, tried = find_on_disk(name)
        folders = [str(file.parent) for file in files.values()]
        return bool(files), folders[0] if files else "; ".join(tried)
    if name in DRAWN:
        cache = _cache()
        return None, f"cached in {cache / name}" if cache else "not cached"
    path = _own_path(name, None)
    if name == "celeba":
        root, partition = find_celeba(path)
        if root and partition:
            return True, str(root.parent)
        return False, f"{path}: expected {FACES}/ and {' or '.join(PARTITIONS)}"
    return path.is_dir() if name.startswith("images:") else split_key(path)[0].is_file(), str(path)


def _own_path(name: str, data_dir: str | None) -> Path:
    """The folder or file of celeba, images:FOLDER or arrays:FILE; ValueError for another name."""
    kind, _, path = name.partition(":")
    if name == "celeba":
        path = data_dir or os.environ.get("SCRATCHVAE_DATA", ".")
    elif kind not in ("images", "arrays"):
        raise ValueError(unknown("data set", name, DATASETS))
    elif data_dir is not None:
        raise ValueError(f"--data-dir cannot be used with {name}, whose name has its path")
    elif not path:
        raise ValueError(f"expected a path after {name}, got none")
    return Path(path).expanduser().resolve()


def _cache() -> Path | None:
    try:
        return cache_folder()
    except RuntimeError:  # no home directory
        return None


def _bytes_in(folder: Path) -> int:
    """The size of all files in a folder, except those deleted meanwhile."""
    size = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):
                size += os.lstat(os.path.join(parent, file)).st_size
    return size


def run_fetch(args: argparse.Namespace) -> int:
    args.saved = True  # the data set is in the cache, whatever happens to the output
    note(f"fetching {args.name} into {cache_of(args.name)}")
    # Of a file from an archive, only the archive's hash may be known, and that is right.
    verdicts = verify_files(args.name, download_files(args.name))
    return _judge(args, verdicts, accepted=("ok", "unknown"))


def run_verify(args: argparse.Namespace) -> int:
    return _judge(args, _verdicts(args, args.name))


def _verdicts(args: argparse.Namespace, name: str) -> Iterable[Verdict]:
    """Look for the files of a data set without a download, and verify them."""
    if name in DRAWN:
        raise ValueError(f"{name} are drawn here, so there are no files to verify")
    if name in SOURCES:
        if args.data_dir is not None:
            return verify_files(name, find_files(name, args.data_dir))
        files, tried = find_on_disk(name)
        if not files:
            raise FileNotFoundError(
                f"{name} is not on this machine ({'; '.join(tried)}): download it with "
                f"`scratchvae data fetch {name}`"
            )
        return verify_files(name, files)
    root = _own_path(name, args.data_dir)
    options = image_options(value_range=args.value_range)
    if name.startswith("arrays:"):
        return [_verify_arrays(root, options.value_range)]
    if name == "celeba":
        root, parts = celeba_files(root, warn)
    elif root.is_dir():
        parts = [*find_images(root).names.values()]
    else:
        raise FileNotFoundError(f"there is no folder {root}")
    names = sorted(chain(*parts))
    if not names:
        raise FileNotFoundError(f"{root}: expected images, found none")
    return progress(verify_images(root, names, options, warn), root.name, total=len(names))


def _verify_arrays(path: Path, value_range: tuple[float, float] | None) -> Verdict:
    try:
        images = load_arrays(path, value_range, note).train_images
    except ValueError as error:
        return Verdict(path, "refused", str(error).removeprefix(f"{split_key(path)[0]}: "))
    for doubt in doubts_about(images):
        warn(doubt)
    return Verdict(path, "ok")


def _judge(
    args: argparse.Namespace, verdicts: Iterable[Verdict], accepted: tuple[str, ...] = ("ok",)
) -> int:
    """Print the verdicts (of image files only the damaged ones); 1 if one is not accepted."""
    found = [*verdicts]
    broken = [verdict for verdict in found if verdict.verdict not in accepted]
    shown = broken if args.name.startswith(("images:", "celeba")) else found
    count, sound = len(found), len(found) - len(broken)
    records = [verdict._asdict() for verdict in shown]
    result = {"name": args.name, "files": count, "sound": sound, "verdicts": records}
    lines = [f"{path}: {what}{f' ({why})' if why else ''}" for path, what, why in shown]
    show(args, result, "\n".join([*lines, f"{args.name}: {sound} of {count} files are ok"]))
    return 1 if broken else 0
