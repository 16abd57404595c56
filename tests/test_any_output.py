"""Output never decides whether work succeeds: any encoding, a full disk, closed streams."""

import io
import json
import os
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
    "kernels": "kernels",
    "check": "check FOLDER",
    "bench": "bench FOLDER",
}
REFUSED = ("data fetch", "summary", "check", "bench")  # they take no name of a folder


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


def test_every_command_is_tried():
    leaves = {words.removeprefix("scratchvae ") for words in parsers()} - {"scratchvae"}
    assert leaves <= set(LINES)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=() if c in ("data list", "evaluate") else pytest.mark.slow)
        for c in LINES
        if f"scratchvae {c}" in parsers()
    ],
)
def test_a_name_that_the_terminal_lacks_is_written_with_escapes(
    here, monkeypatch, command, encoding
):
    folder, run = here
    words = LINES[command].replace("RUN-2", f"{run}-{command}-{encoding}")
    words = words.replace("RUN", str(run)).replace("FOLDER", str(folder)).split(" ")
    status, out, err = call(monkeypatch, words, encoding)
    assert "internal error" not in err and "codec" not in err
    if command in REFUSED:
        assert status == 2 and escaped(folder.name) in escaped(err)
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


def shell(script, folder):
    script = f'unset PYTHONUNBUFFERED; scratchvae="{sys.executable} -m scratchvae"; {script}'
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, cwd=folder
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("here", [CYRILLIC], indirect=True)
@pytest.mark.parametrize(
    "where",
    ["> /dev/full", ">&-", "| true", "2> /dev/full", "2>&-", "> /dev/full 2>&1", ">&- 2>&-"],
)
def test_training_goes_on_without_its_output(here, where):
    """The exit status tells of the work: 0, and 2 for a folder that contains a run."""
    _, run = here
    out = f"{run.name}{where}".replace("/", "_")
    line = f"$scratchvae train --config '{run.name}/config.json' --out '{out}' {where}"
    for status in (0, 2):
        done = shell(f"set -o pipefail; {line}", run.parent)
        assert done.returncode == status, done.stderr
        assert "Exception ignored" not in done.stderr
    assert (run.parent / out / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("here", [CYRILLIC], indirect=True)
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("evaluate RUN", 2),
        ("evaluate RUN --out e.json", 0),
        ("sample RUN", 0),
        ("train --resume RUN --json", 0),
        ("kernels", 2),
    ],
)
def test_a_full_disk_matters_only_if_nothing_else_holds_the_result(here, command, status):
    _, run = here
    line = command.replace("RUN", f"'{run.name}'")
    assert shell(f"$scratchvae {line} > /dev/full", run.parent).returncode == status
