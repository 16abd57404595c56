"""The CUDA kernels have no races, and every __syncthreads is necessary: without it, the race
checker finds a race. New kernels and ops are found automatically."""

import ctypes
import functools
import re
import tempfile
from pathlib import Path

import pytest
from on_host import build
from on_host.runs import NAMES, runs

import scratchvae as sv
from scratchvae.kernels import cuda

pytestmark = pytest.mark.slow
BARRIER = re.compile(r"__syncthreads\(\);")
WITH_BARRIERS = [file for file in build.files() if BARRIER.search(cuda.source(file))]
CAUGHT = "nothing to order them|which no thread wrote"


@pytest.fixture
def watched(cupy_on_host, monkeypatch):
    """The engine cuda on the CPU, under the race checker."""
    monkeypatch.setattr(build, "mode", "races")
    monkeypatch.setattr(build, "planted", {})
    with sv.using("cuda"):
        yield


@pytest.mark.parametrize(("dtype", "backwards"), [("float32", False), ("float64", True)])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_have_no_races(name, dtype, backwards, watched, monkeypatch):
    monkeypatch.setattr(build, "backwards", backwards)
    for run in runs(name):
        run(dtype)


def _label(folder):
    """Write the CUDA files to this folder, with a label after every __syncthreads: its origin."""
    for path in [*cuda.FOLDER.glob("*.cu"), *cuda.FOLDER.glob("*.cuh")]:
        first, *others = BARRIER.split(path.read_text())
        labelled = [f"__syncthreads();/*{path.name}:{k}*/{o}" for k, o in enumerate(others, 1)]
        (folder / path.name).write_text(first + "".join(labelled))


LABELLED = re.compile(r"__syncthreads\(\);/\*(.+?)\*/")


@functools.cache
def _labelled():
    """File -> its text with labels, for files with barriers."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        _label(Path(folder))
        patch.setattr(cuda, "FOLDER", Path(folder))
        return {file: cuda.source(file) for file in WITH_BARRIERS}


@functools.cache
def _users():
    """File -> the runs that launch its kernels; and file -> the labels of the barriers that they
    reach: a file may include a function with a barrier without calling it."""
    texts = _labelled()
    users, launched = {file: [] for file in texts}, set()
    library, launch = build.load("float32", texts), build.launch

    def recorded(dtype, name, *arguments):
        launched.add(name)
        launch(dtype, name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build.planted, "float32", library)
        patch.setattr(build, "launch", recorded)
        for run in (run for name in NAMES for run in runs(name)):
            launched.clear()
            run("float32")
            for file, text in texts.items():
                if launched & {*build.KERNEL.findall(text)}:
                    users[file].append(run)

    library.passed_barriers.restype = ctypes.c_char_p
    lines = build.translation_unit(texts).splitlines()
    passed = {file: set() for file in texts}
    for number in map(int, library.passed_barriers().split()):
        (file,) = re.findall(r"^namespace file_(\w+) {$", "\n".join(lines[:number]), re.M)[-1:]
        (label,) = LABELLED.findall(lines[number - 1])
        passed[file].add(label)
    return users, passed


@pytest.mark.parametrize("file", WITH_BARRIERS)
def test_no_barrier_can_be_spared(file, watched, monkeypatch):
    users, passed = _users()
    for label in sorted(passed[file]):
        text = _labelled()[file].replace(f"__syncthreads();/*{label}*/", ";")
        monkeypatch.setitem(build.planted, "float32", build.load("float32", {file: text}))
        for backwards in (False, True):
            monkeypatch.setattr(build, "backwards", backwards)
            with pytest.raises(RuntimeError, match=CAUGHT):
                for run in users[file]:
                    run("float32")
                pytest.fail(f"{file}: no race without {label}, {backwards=}")


def test_every_barrier_is_passed(watched):
    _, passed = _users()
    written = {label for text in _labelled().values() for label in LABELLED.findall(text)}
    assert written and written == set().union(*passed.values())


def test_files_with_barriers_are_found():
    """A barrier in another spelling would not be found."""
    for path in [*cuda.FOLDER.glob("*.cu"), *cuda.FOLDER.glob("*.cuh")]:
        code = re.sub(r"//.*", "", path.read_text())
        assert len(BARRIER.findall(code)) == code.count("__sync"), path.name
