"""Output never decides whether work succeeds: any encoding, a full disk, closed streams."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_main import parsers

import scratchvae as sv
from scratchvae.__main__ import main
from scratchvae.output import note, progress, tell
from scratchvae.runs import Config, train

CYRILLIC, LATIN_1 = "Лица", os.fsdecode(b"lat\xe9")  # the second is no UTF-8
ENCODINGS = ("ascii", "cp1252", "utf-8")
# Every command: FOLDER holds images, RUN is a run on them.
LINES = {
    "train": "train mlp --data images:FOLDER --image-size 8 --epochs 1 --engine numpy --out RUN-2",
    "evaluate": "evaluate RUN --out RUN-é.json",
    "encode": "encode RUN --out RUN-я.npz",
    "reconstruct": "reconstruct RUN --count 2",
    "sample": "sample RUN --count 2 --npz RUN-я.npz",
    "interpolate": "interpolate RUN --pairs 0,1 --steps 2",
    "traverse": "traverse RUN --steps 2",
    "manifold": "manifold RUN --size 2",
    "data": "data",
    "data list": "data list images:FOLDER",
    "data fetch": "data fetch FOLDER",
    "data verify": "data verify images:FOLDER",
    "summary": "summary FOLDER",
    "xray": "xray RUN",
    "exercise": "exercise relu --out RUN-2.py",
    "kernels": "kernels",
    "check": "check FOLDER",
    "bench": "bench FOLDER",
}
REFUSED = ("data fetch", "summary", "check", "bench")  # they take no name of a folder
PRINTED = ("data", "data list", "data verify", "kernels")  # their result is only printed


@pytest.fixture(scope="module", params=[CYRILLIC, LATIN_1], ids=["cyrillic", "latin-1"])
def here(request, tmp_path_factory):
    """A folder with images, and a run on them; both have this name."""
    root = tmp_path_factory.mktemp("names")
    folder = root / request.param
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system does not take this name")
    rng = np.random.default_rng(0)
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (8, 8), "uint8")).save(folder / f"{i}.png")
    config = Config(
        data=f"images:{folder}", image_size=8, grey=True, latent_dim=2, epochs=1, engine="numpy"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        train(config, folder=root / f"run-{request.param}", say=lambda text: None, bar=False)
        yield folder, root / f"run-{request.param}"


def strict(encoding, file=None):
    """A text stream that raises for every character that the encoding lacks."""
    return io.TextIOWrapper(file or io.BytesIO(), encoding, errors="strict", write_through=True)


def call(monkeypatch, line, encoding):
    """Call the command line with strict streams; its status, stdout and stderr."""
    streams = strict(encoding), strict(encoding)
    with monkeypatch.context() as patch:
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        try:
            status = main(line)
        except SystemExit as end:
            status = end.code
    return status, *(stream.buffer.getvalue().decode(encoding) for stream in streams)


def escaped(text):
    return text.encode("ascii", "backslashreplace").decode()


def words_of(command, here, new):
    """The line of a command; `train` makes this folder."""
    folder, run = here
    words = LINES[command].replace("RUN-2", f"{run}-{new}")
    return words.replace("RUN", str(run)).replace("FOLDER", str(folder)).split(" ")


def test_every_command_is_tried():
    leaves = {words.removeprefix("scratchvae ") for words in parsers()} - {"scratchvae"}
    assert leaves == set(LINES)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=() if c in ("data list", "evaluate") else pytest.mark.slow)
        for c in LINES
    ],
)
def test_a_name_that_the_terminal_lacks_is_written_with_escapes(
    here, monkeypatch, command, encoding
):
    words = words_of(command, here, f"{command}-{encoding}")
    status, _, err = call(monkeypatch, words, encoding)
    assert "internal error" not in err and "codec" not in err
    if command in REFUSED:
        assert status == 2 and escaped(here[0].name) in escaped(err)
    else:
        assert status == 0, err


def test_files_hold_any_name(here):
    """And they are read again."""
    _, run = here
    options = json.loads((run / "config.json").read_text("ascii"))["options"]
    assert options["data"].endswith(run.name.removeprefix("run-"))
    json.loads((run / "metrics.json").read_text("ascii"))
    assert len(sv.runs.open_run(run, "numpy").test_images())


# --- Streams that fail ---------------------------------------------------------------------------


class Full(io.RawIOBase):
    """A file on a full disk."""

    def writable(self):
        return True

    def write(self, content):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("function", [tell, note])
def test_messages_never_raise(monkeypatch, function):
    name = "stdout" if function is tell else "stderr"
    closed = strict("utf-8")
    closed.close()
    full = strict("ascii", io.BufferedWriter(Full()))
    for stream in (None, closed, full):
        monkeypatch.setattr(sys, name, stream)
        function("Лица")
    stream = strict("cp1252")
    monkeypatch.setattr(sys, name, stream)
    function("é Лица \udce9")
    assert stream.buffer.getvalue().decode("cp1252") == "é \\u041b\\u0438\\u0446\\u0430 \\udce9\n"


def test_a_bar_needs_no_stream(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as in pythonw on Windows
    assert [*progress(range(3), "epoch 1")] == [0, 1, 2]


SWEEP = """
import json, os, sys
from scratchvae.__main__ import program, take_missing_descriptors
take_missing_descriptors()
import scratchvae.commands, scratchvae.plots  # once for all
lines, ended = json.load(open(sys.argv[1])), []
for words in lines:
    if not (child := os.fork()):
        sys.argv[1:] = words
        program()
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
json.dump(ended, open(sys.argv[1], "w"))
"""
ALONE = [">&-", "2>&-", "> /dev/full", "2> /dev/full"]
STREAMS = [*ALONE, "<&- >&- 2>&-", "> /dev/full 2>&1"]


def statuses(lines, streams, folder):
    """The exit statuses of commands whose streams are closed or on a full disk; and stderr."""
    path = folder / "lines.json"
    path.write_text(json.dumps(lines))
    script = f"unset PYTHONUNBUFFERED; {sys.executable} -c '{SWEEP}' {path} {streams}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text()), done.stderr


full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")


@full_disk
@pytest.mark.parametrize(
    "streams", ["2>&-", *(pytest.param(s, marks=pytest.mark.slow) for s in STREAMS if s != "2>&-")]
)
def test_an_exit_status_tells_of_the_work_and_not_of_the_streams(tmp_path, streams):
    """With a full disk, a result that is only printed is an error, unless there was another."""
    relu = ["check", "relu", "--method", "adjoint", "--engine", "numpy"]
    wrong = [["trian"], ["summary", "vgg"], relu]
    lines = [[], ["--help"], ["kernels"], *wrong]
    found, err = statuses(lines, streams, tmp_path)
    full = streams.startswith("> /dev/full")
    assert found == [2 * full, 2 * full, 2 * full, 2, 2, 2]
    assert "Traceback" not in err and "Exception ignored" not in err
    if streams == "> /dev/full":
        *heads, unknown, vgg, relu = err.splitlines()
        programs = ("scratchvae", "scratchvae", "scratchvae kernels")
        assert heads == [f"{program}: error: No space left on device" for program in programs]
        assert relu.endswith("relu is not linear, so the method adjoint does not apply")


@pytest.mark.slow
@full_disk
@pytest.mark.parametrize("here", [CYRILLIC], indirect=True)
@pytest.mark.parametrize("streams", ALONE)
def test_every_command_goes_on_without_its_streams(here, tmp_path, streams):
    name = streams.replace("/", "_").replace(" ", "")
    commands = [*LINES, "train"]  # the second time the folder contains a run
    found, err = statuses([words_of(c, here, name) for c in commands], streams, tmp_path)
    full = streams.startswith("> /dev/full")
    expected = [2 if c in REFUSED or (full and c in PRINTED) else 0 for c in LINES]
    assert dict(zip(LINES, found, strict=False)) == dict(zip(LINES, expected, strict=True))
    assert found[-1] == 2 and "Exception ignored" not in err
    assert Path(f"{here[1]}-{name}", "metrics.json").exists()


def test_a_reader_that_leaves_is_no_error():
    """`true` does not read its input, so the table is never read."""
    script = f"set -o pipefail; {{ sleep 0.1; {sys.executable} -m scratchvae summary mlp; }} | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("here", [CYRILLIC], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_dies_of_its_signal_once_everything_is_saved(here, number):
    """A shell loop stops after one Ctrl-C, which reaches the shell, too."""
    _, run = here
    train = f"train --config {run}/config.json --epochs 9999 --out {run}-{number}"
    loop = f"for s in 1 2; do {sys.executable} -um scratchvae {train}-$s; done"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    shell = subprocess.Popen(["bash", "-c", loop], start_new_session=True, text=True, **pipes)
    while not (line := shell.stdout.readline()).startswith("epoch"):
        assert line, shell.stderr.read()
    os.killpg(shell.pid, number)
    _, err = shell.communicate(timeout=60)
    assert shell.returncode == -number and not Path(f"{run}-{number}-2").exists()
    if number == signal.SIGINT:  # after SIGTERM the shell does not wait
        assert "everything is saved; to continue: scratchvae train --resume" in err
