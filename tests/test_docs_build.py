"""docs/build.py, on pages written for the test; and the pages about commands that it builds."""

import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from scratchvae.commands import COMMANDS
from scratchvae.commands.options import CommandParser

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(  # with commands; the page that trains most takes longest, so it is tested first
    runpy.run_path(DOCS / "build.py")["pages_with_commands"](),
    key=lambda page: -page.read_text("utf-8").count("$ scratchvae train"),
)


def docs_build(*arguments):
    command = [sys.executable, DOCS / "build.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture
def page(tmp_path):
    """A page with one block; `rule` is the word after "console"."""

    def write(lines, rule="", below=""):
        path = tmp_path / "page.md"
        path.write_text(f"# Title\n\n```console{rule}\n{lines}\n```\n\nThe end.\n{below}")
        return path

    return write


def test_a_page_shows_what_its_commands_print(page):
    path = page("$ echo one; echo two >&2\nold\n$ echo x > file; (exit 3)\n$ cat file")
    assert docs_build(path).returncode == 0
    shown = "$ echo one; echo two >&2\none\ntwo\n$ echo x > file; (exit 3)\n# exit status 3\n"
    assert path.read_text() == f"# Title\n\n```console\n{shown}$ cat file\nx\n```\n\nThe end.\n"
    assert docs_build("--check", path).returncode == 0


def test_a_check_writes_nothing_and_shows_the_difference(page):
    path = page("$ echo 1.25 nats\n1.50 nats")
    before = path.read_text()
    found = docs_build("--check", path)
    assert found.returncode == 1 and path.read_text() == before
    assert "\n-1.50 nats\n+1.25 nats\n" in found.stdout


@pytest.mark.parametrize(
    ("rule", "shown", "status"),
    [
        (" varies", "loss   10.5  1e-05 nats", 0),
        (" varies", "loss nan 2.3 nats", 1),
        (" varies", "loss -31cf5e4df02e 2.3 nats", 0),
        (" varies", "loss 9.25 2.3 bits", 1),
        (" varies", "loss a direction 2.3 nats", 1),
        (" here", "another machine", 0),
        (" here", "another machine\n# exit status 2", 1),
    ],
)
def test_numbers_may_vary_and_of_a_machine_only_the_exit_status_counts(page, rule, shown, status):
    path = page(f"$ echo loss 9.25 2.3 nats\n{shown}", rule)
    assert docs_build("--check", path).returncode == status


@pytest.mark.parametrize("shown", ["a direction", "(3, 0, 0, 1)"])
def test_the_place_of_the_worst_element_may_vary(page, shown):
    path = page(f"$ echo 'conv1.bias  (0,)  ok'\nconv1.bias  {shown}  ok", " varies")
    assert docs_build("--check", path).returncode == 0


def test_the_commands_are_this_checkout_s_without_a_terminal_and_without_data(page):
    path = page("$ scratchvae --version; echo $SCRATCHVAE_DATA $COLUMNS; test -t 0 || echo no tty")
    assert docs_build(path).returncode == 0
    version = re.search(
        r"__version__ = \"(.*)\"", (DOCS.parent / "scratchvae/__init__.py").read_text()
    )
    assert f"\nscratchvae {version[1]}\n100\nno tty\n```" in path.read_text()


DRAW = """python -c "from PIL import Image; Image.effect_noise(({0}, {0}), 50).save('a.png')" """


def test_pictures_come_along(page, tmp_path):
    path = page(f"$ {DRAW.format(40)}", below='![A](b.png "a.png")\n')
    found = docs_build("--check", path)
    assert found.returncode == 1 and "b.png: there is no such picture" in found.stderr
    assert docs_build(path).returncode == 0
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.size == (40, 40)
    assert docs_build("--check", path).returncode == 0


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("true", "a.png: no command on the page has made this picture"),
        ("echo text > a.png", "docs/build.py: cannot identify image file"),
        (DRAW.format(600), "b.png: expected at most 60,000 bytes, found "),
    ],
)
def test_a_picture_that_no_command_made_or_that_is_too_large_is_an_error(page, command, problem):
    found = docs_build(page(f"$ {command}", below='![A](b.png "a.png")\n'))
    assert found.returncode == 1 and problem in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr


def test_an_unknown_rule_is_an_error(page):
    found = docs_build(page("$ true", " maybe"))
    assert found.returncode == 1 and "found 'maybe'" in found.stderr


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("kernels/", "got 'kernels/': a folder"),
        ("mistakes.md", "mistakes.md: expected ```console blocks, found none"),
        (
            "docs/commands/trian.md",
            "such as docs/commands/train.md or train, got 'docs/commands/tri",
        ),
        ("nothing", "got 'nothing': no such file"),
        (str(DOCS / "samples.png"), "docs/build.py: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_no_page_is_refused_in_one_line(name, found):
    done = docs_build("--check", name)
    assert done.returncode == 1 and found in done.stderr
    assert done.stderr.startswith("docs/build.py: ") and done.stderr.count("\n") == 1


def test_a_name_without_a_folder_is_a_command_s_page():
    """In the repository's root, `kernels` is also a folder."""
    find_page = runpy.run_path(DOCS / "build.py")["find_page"]
    assert find_page("kernels") == DOCS / "commands/kernels.md" == find_page("kernels.md")
    assert find_page("own-data") == DOCS / "own-data.md"


def test_without_bash_it_says_so(page, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = docs_build(page("$ true"))
    assert done.returncode == 1
    assert done.stderr == "docs/build.py: expected bash, which runs the commands, found none\n"


def test_a_command_without_end_is_stopped_with_all_that_it_has_started(tmp_path, monkeypatch):
    """Otherwise a process in the background would go on."""
    run_command = runpy.run_path(DOCS / "build.py")["run_command"]
    monkeypatch.setitem(run_command.__globals__, "SECONDS", 0.2)
    with pytest.raises(SystemExit, match=r"expected at most 0\.2 seconds, stopped: .sleep"):
        run_command("(sleep 1; touch late) & sleep 9", tmp_path, {"PATH": os.environ["PATH"]})
    time.sleep(1)
    assert not (tmp_path / "late").exists()


def test_bytes_that_are_no_text_are_shown(page):
    path = page("$ printf 'a\\xffb'")
    assert docs_build(path).returncode == 0 and "\na\\xffb\n" in path.read_text()


def test_every_command_has_a_page():
    commands = CommandParser().add_subparsers()
    for command in COMMANDS:
        command.add(commands)
    assert len(commands.choices) == 15
    assert set(commands.choices) <= {page.stem for page in PAGES}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pages_show_what_the_commands_print(page):
    found = docs_build("--check", page)
    assert found.returncode == 0, found.stdout + found.stderr
