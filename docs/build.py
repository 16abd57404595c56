"""Run the commands that the pages show, and write their output into the pages.

    python docs/build.py                          every page that shows commands
    python docs/build.py docs/commands/train.md   only this page; `train` alone means it, too
    python docs/build.py --check                  write nothing; show the differences

A page shows commands in blocks. Below each command are its output, errors included, and its exit
status if that is not 0:

    ```console
    $ scratchvae summary mpl
    scratchvae summary: error: ...
    # exit status 2
    ```

bash runs the commands of a page in order, in one folder that is empty at first. `--check` compares
a block exactly. In a block that begins with "```console varies" it ignores numbers, hashes and the
place of a worst element, because another processor rounds differently. In one that begins with
"```console here", which describes the machine, it compares only the exit statuses.

If the title of an image names a picture that a command has made, the picture is copied:

    ![Sixty-four samples](samples.png "runs/digits/samples.png")
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import signal
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
# Messages on standard error that depend on the machine or on a first run: no part of the pages.
REMARKS = ("scratchvae: engine ", "scratchvae: compiling kernels")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SECONDS = 300  # that a command may take
LARGEST = 60_000  # bytes of a picture
COLOURS = 64  # of a picture: no visible difference, in a third of the bytes


def main() -> int:
    """Build or check the pages; 1 if a checked page differs from what its commands print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="default: all")
    parser.add_argument("--check", action="store_true", help="write nothing, show differences")
    args = parser.parse_args()
    if shutil.which("bash") is None:
        raise SystemExit("docs/build.py: expected bash, which runs the commands, found none")
    pages = [find_page(name) for name in args.pages] or pages_with_commands()
    changed = False
    for page in pages:
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


def find_page(name: str) -> Path:
    """The page of this path; `train` alone is docs/commands/train.md, or else docs/train.md."""
    places = [Path(name)]
    if "/" not in name:
        file = f"{name.removesuffix('.md')}.md"
        places += [DOCS / "commands" / file, DOCS / file]
    for page in places:
        if page.is_file():
            if not BLOCK.search(page.read_text(encoding="utf-8")):
                raise SystemExit(f"docs/build.py: {page}: expected ```console blocks, found none")
            return page
    found = "a folder" if Path(name).is_dir() else "no such file"
    raise SystemExit(
        f"docs/build.py: expected a page, such as docs/commands/train.md or train, got {name!r}: "
        f"{found}"
    )


def pages_with_commands() -> list[Path]:
    """All pages with commands, in docs/ and below."""
    return [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text("utf-8"))]


def build(page: Path, text: str, check: bool) -> str:
    """The page with the current output of its commands; with `check`, blocks that hold stay."""
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
    """The environment: this checkout's `scratchvae`, no terminal, no GPU, one thread, no data."""
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
    """Each command of a block with its output, in which folders of this machine are renamed."""
    if rule not in ("", "varies", "here"):
        raise SystemExit(f"docs/build.py: expected console, console varies or here, found {rule!r}")
    for command in re.findall(r"^\$ (.*)$", shown, re.MULTILINE):
        printed, status = run_command(command, work, environment)
        printed = printed.replace(str(work), "/home/you/work").replace(str(CACHE), "~/.cache")
        lines = [line.rstrip() for line in printed.splitlines()]
        if rule != "here":
            lines = [line for line in lines if not line.startswith(REMARKS)]
        if status:
            lines.append(f"# exit status {status}")
        yield "\n".join([f"$ {command}", *lines, ""])


def run_command(command: str, work: Path, environment: dict[str, str]) -> tuple[str, int]:
    """What a command prints, and its exit status."""
    with subprocess.Popen(
        ["bash", "-c", command], cwd=work, env=environment, encoding="utf-8",
        errors="backslashreplace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=SECONDS)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # bash and what it has started
            if isinstance(error, subprocess.TimeoutExpired):
                raise SystemExit(
                    f"docs/build.py: expected at most {SECONDS} seconds, stopped: {command}"
                ) from None
            raise
    return printed, process.returncode


def holds(rule: str, shown: str, printed: str) -> bool:
    """Whether the shown output still holds."""
    if rule == "varies":
        return without_numbers(shown) == without_numbers(printed)
    if rule == "here":
        return STATUS.findall(shown) == STATUS.findall(printed)
    return shown == printed


def without_numbers(text: str) -> str:
    """The text with # for every number; column widths, which depend on numbers, are ignored too."""
    text = re.sub(r"a direction|\(#[# ]*\)", "(#)", NUMBER.sub("#", text))  # the worst element
    return re.sub(r"[ -]+", " ", text)


def keep_picture(source: Path, target: Path, check: bool) -> None:
    """Save a picture beside its page, in few colours; a check only looks whether both exist."""
    from PIL import Image

    if not source.is_file():
        raise SystemExit(f"{source.name}: no command on the page has made this picture")
    if check and not target.is_file():
        raise SystemExit(f"{target}: there is no such picture; docs/build.py makes it")
    if not check:
        with Image.open(source) as picture:
            # Maximum coverage: a few dots of one colour count as much as a dark background.
            few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE)
        few.save(target, optimize=True)
    if (size := target.stat().st_size) > LARGEST:
        raise SystemExit(f"{target}: expected at most {LARGEST:,} bytes, found {size:,}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, UnicodeDecodeError) as error:  # of a page or a picture
        sys.exit(f"docs/build.py: {error}")
