"""Run the commands that the pages show, and write what they print into the pages.

    python docs/build.py                          every page that shows commands
    python docs/build.py docs/commands/train.md   this one
    python docs/build.py --check                  write nothing; show what has changed, if any has

A page shows commands in blocks, and below each command what it prints, errors included, and its
exit status where that is not 0:

    ```console
    $ scratchvae summary mpl
    scratchvae summary: error: ...
    # exit status 2
    ```

The commands of a page are run by bash, in order, in one folder that is empty at first. `--check`
compares a block exactly. It compares one that begins with "```console varies" up to numbers, hashes
and the place of a worst element, because another processor rounds differently; and of one with
"```console here", which describes the machine, only the exit statuses.

A picture that a command made is named in the title of an image, and copied:

    ![Sixty-four samples](samples.png "runs/digits/samples.png")
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```console *(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r'!\[[^\]]*\]\(([^)\s]+)\s+"([^"]+)"\)')
NUMBER = re.compile(r"-?\b[0-9a-f]{12}\b|-?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")  # a hash, or a number
STATUS = re.compile(r"^# exit status \d+$", re.MULTILINE)
# Remarks on standard error of a first run, and of a machine: no part of what a page is about.
REMARKS = ("scratchvae: engine ", "scratchvae: compiling kernels")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SECONDS = 300  # that a command may take
LARGEST = 60_000  # bytes of a picture
COLOURS = 64  # of a picture: as good to look at, in a third of the bytes


def main() -> int:
    """Build or check the pages; 1 if a page that is checked shows something else."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="default: all")
    parser.add_argument("--check", action="store_true", help="write nothing, show differences")
    args = parser.parse_args()
    changed = False
    for page in args.pages or pages_with_commands():
        print(page, file=sys.stderr, flush=True)
        before = page.read_text(encoding="utf-8")
        after = build(page, before, args.check)
        if args.check:
            old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
            sys.stdout.writelines(difflib.unified_diff(old, new, str(page), "printed now"))
            changed |= before != after
        else:
            page.write_text(after, encoding="utf-8")
    return 1 if changed else 0


def pages_with_commands() -> list[Path]:
    """All of them, in docs/ and below."""
    return [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text("utf-8"))]


def build(page: Path, text: str, check: bool) -> str:
    """The page with what its commands print now; with `check`, blocks that still hold stay."""
    with tempfile.TemporaryDirectory() as temporary:
        work, tools = Path(temporary, "work").resolve(), Path(temporary, "bin")
        work.mkdir()
        tools.mkdir()
        environment = make_environment(tools)

        def renew(block: re.Match[str]) -> str:
            rule, shown = block.groups()
            printed = "".join(run_block(shown, rule, work, environment))
            if check and holds(rule, shown, printed):
                return block[0]
            return f"```console{rule and ' '}{rule}\n{printed}```"

        after = BLOCK.sub(renew, text)
        for target, source in PICTURE.findall(text):
            keep_picture(work / source, page.parent / target, check)
    return after


def make_environment(tools: Path) -> dict[str, str]:
    """The same for all: this checkout's `scratchvae`, no terminal, no GPU, one thread, no data."""
    command = tools / "scratchvae"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m scratchvae "$@"\n')
    command.chmod(0o755)
    environment = {name: text for name, text in os.environ.items() if name != "SCRATCHVAE_DATA"}
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    return environment | {
        "PATH": path,
        "PYTHONPATH": str(DOCS.parent),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def run_block(shown: str, rule: str, work: Path, environment: dict[str, str]) -> Iterator[str]:
    """Each command of a block, and what it prints; folders of this machine under other names."""
    if rule not in ("", "varies", "here"):
        raise SystemExit(f"docs/build.py: expected console, console varies or here, found {rule!r}")
    for command in re.findall(r"^\$ (.*)$", shown, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command], cwd=work, env=environment, text=True, timeout=SECONDS,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        printed = done.stdout.replace(str(work), "/home/you/work").replace(str(CACHE), "~/.cache")
        lines = [line.rstrip() for line in printed.splitlines()]
        if rule != "here":
            lines = [line for line in lines if not line.startswith(REMARKS)]
        if done.returncode:
            lines.append(f"# exit status {done.returncode}")
        yield "\n".join([f"$ {command}", *lines, ""])


def holds(rule: str, shown: str, printed: str) -> bool:
    """Whether a page may go on showing what it shows."""
    if rule == "varies":
        return without_numbers(shown) == without_numbers(printed)
    if rule == "here":
        return STATUS.findall(shown) == STATUS.findall(printed)
    return shown == printed


def without_numbers(text: str) -> str:
    """Every number as #; the widths of columns, which follow from numbers, do not count either."""
    text = re.sub(r"a direction|\(#[# ]*\)", "(#)", NUMBER.sub("#", text))  # the worst element
    return re.sub(r"[ -]+", " ", text)


def keep_picture(source: Path, target: Path, check: bool) -> None:
    """Save a picture beside its page, in few colours; a check asks only that there are both."""
    from PIL import Image

    if not source.is_file():
        raise SystemExit(f"{source.name}: no command on the page has made this picture")
    if check and not target.is_file():
        raise SystemExit(f"{target}: there is no such picture; docs/build.py makes it")
    if not check:
        with Image.open(source) as picture:
            # Maximum coverage: a few dots of a colour count as much as a dark background.
            few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
        few.save(target, optimize=True)
    if (size := target.stat().st_size) > LARGEST:
        raise SystemExit(f"{target}: expected at most {LARGEST:,} bytes, found {size:,}")


if __name__ == "__main__":
    sys.exit(main())
