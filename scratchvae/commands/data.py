"""`scratchvae data`: list, download and verify data sets."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..data import DATASETS, find_celeba
from ..data.dataset import Verdict
from ..data.images import FACES, PARTITION, find_images, verify_images
from ..data.sources import SOURCES, download_files, find_files, find_on_disk, verify_files
from ..output import cache_folder, table
from .options import add_command, say, show

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
    inner.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(DATASETS)}")

    inner = add_command(
        actions, "fetch", run_fetch, "download a data set into the cache",
        ", except for files that are there already, and verify it.",
        "scratchvae data fetch fashion-mnist",
    )  # fmt: skip
    inner.add_argument("name", choices=tuple(SOURCES), metavar="NAME", help=" or ".join(SOURCES))

    inner = add_command(
        actions, "verify", run_verify, "check every file of a data set",
        ": the files of MNIST and Fashion-MNIST by their hashes, other images by decoding them. "
        "The exit status is 0 only if all files are ok.",
        "scratchvae data verify mnist --data-dir mnist",
        "scratchvae data verify images:photographs",
    )  # fmt: skip
    files = ", ".join(name for name in DATASETS if name not in DRAWN)
    inner.add_argument("name", metavar="NAME", help=files)
    inner.add_argument(
        "--data-dir", metavar="DIR", help="look only in this folder; not with images:FOLDER"
    )


class Location(NamedTuple):
    """Where a data set is or should be; `there` is None if it is drawn when needed."""

    name: str
    there: bool | None
    where: str


def run_list(args: argparse.Namespace) -> int:
    names = args.names or [name for name in DATASETS if not name.startswith("images:")]
    found = [locate(name) for name in names]
    cache = _cache()
    size = _bytes_in(cache) if cache else 0
    words = {True: "found", False: "missing", None: "drawn"}
    rows = [[name, words[there], where] for name, there, where in found]
    text = table([["data set", "status", "location"], *rows]) + "\n\n"
    if not args.names:
        text += "images:FOLDER: any folder of JPEG and PNG files; drawn: made here when needed\n\n"
    text += f"cache: {cache or 'none (no home directory)'}, {size / 1e6:,.1f} MB"
    datasets = [location._asdict() for location in found]
    show(args, {"datasets": datasets, "cache": {"folder": cache, "bytes": size}}, text)
    return 0


def locate(name: str) -> Location:
    """Look for a data set; ValueError if the name is unknown."""
    if name in SOURCES:
        files, tried = find_on_disk(name)
        if files is not None:
            return Location(name, True, str(files["train_images"].parent))
        return Location(name, False, "; ".join(tried))
    if name in DRAWN:
        cache = _cache()
        return Location(name, None, f"cached in {cache / name}" if cache else "not cached")
    root = _folder(name, None)
    if name != "celeba":
        return Location(name, root.is_dir(), str(root))
    if (root / FACES).is_dir() and (root / PARTITION).is_file():
        return Location(name, True, str(root))
    return Location(name, False, f"{root}: expected {FACES}/ and {PARTITION}")


def _folder(name: str, data_dir: str | None) -> Path:
    if name.startswith("images:") and name != "images:":
        return Path(name.removeprefix("images:")).expanduser().resolve()
    if name != "celeba":
        raise ValueError(f"unknown data set {name!r}; choose from {', '.join(DATASETS)}")
    outer = Path(data_dir or os.environ.get("SCRATCHVAE_DATA", ".")).expanduser().resolve()
    return find_celeba(outer) or outer


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
    say(f"fetching {args.name} into {cache_folder() / args.name}")
    return _judge(args, verify_files(args.name, download_files(args.name)))


def run_verify(args: argparse.Namespace) -> int:
    """Look for the files without a download, and verify them."""
    if args.name in DRAWN:
        raise ValueError(f"{args.name} are drawn here, so there are no files to verify")
    if args.name in SOURCES:
        if args.data_dir is not None:
            return _judge(args, verify_files(args.name, find_files(args.name, args.data_dir)))
        files, tried = find_on_disk(args.name)
        if files is None:
            raise FileNotFoundError(
                f"{args.name} is not on this machine ({'; '.join(tried)}): download it with "
                f"`scratchvae data fetch {args.name}`"
            )
        return _judge(args, verify_files(args.name, files))
    root = _folder(args.name, args.data_dir)
    if args.name == "celeba":
        root /= FACES
    elif args.data_dir is not None:
        raise ValueError(f"--data-dir cannot be used with {args.name}, which names its own folder")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    names = sorted(find_images(root))
    if not names:
        raise FileNotFoundError(f"{root}: expected JPEG or PNG files, found none")
    from tqdm import tqdm

    bar = tqdm(verify_images(root, names), root.name, len(names), leave=False, disable=None)
    return _judge(args, bar, every=False)


def _judge(args: argparse.Namespace, verdicts: Iterable[Verdict], every: bool = True) -> int:
    """Print the verdicts (of images only the damaged ones); 1 if a file is not ok."""
    found = [*verdicts]
    broken = [verdict for verdict in found if verdict.verdict != "ok"]
    shown, count, sound = found if every else broken, len(found), len(found) - len(broken)
    records = [verdict._asdict() for verdict in shown]
    result = {"name": args.name, "files": count, "sound": sound, "verdicts": records}
    lines = [f"{path}: {what}{f' ({why})' if why else ''}" for path, what, why in shown]
    show(args, result, "\n".join([*lines, f"{args.name}: {sound} of {count} files are ok"]))
    return 1 if broken else 0
