"""The layout: imports point down, kernels import nothing of ours, files stay short."""

import ast
import configparser
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from scratchvae import data, optim  # noqa: F401  (fill the registry, as the ops do)
from scratchvae.backend import ENGINES, KERNEL_FOLDER, REGISTRY, find_kernel
from scratchvae.gpu import graph  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
FLOOR = {
    "__main__": 12,
    "commands": 11,
    "runs": 10,
    "plots": 9,
    "train": 9,
    "evaluation": 8,
    "exercises": 8,
    "gpu": 7,
    "gradcheck": 7,
    "xray": 8,
    "optim": 6,
    "models": 5,
    "layers": 4,
    "module": 3,
    "ops": 2,
    "data": 2,
    "backend": 1,
    "output": 0,
    "detect": 0,
    "notebook": -1,
}
FILES = sorted((ROOT / "scratchvae").rglob("*.py"))
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))


def imports(path, package):
    """Dotted names of a file's imports, with relative imports resolved against its package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + ([node.module] if node.module else [])
            yield from (".".join([*base, alias.name]) for alias in node.names)


def room(path):
    return path.relative_to(ROOT / "scratchvae").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    if path == ROOT / "scratchvae/__init__.py":
        return  # the package's own file may import everything
    package = ["scratchvae", *path.relative_to(ROOT / "scratchvae").parts[:-1]]
    for name in imports(path, package):
        top, *rest = name.split(".")
        assert top != "kernels", "kernels are found by name and must not be imported"
        assert top != "matplotlib" or room(path) == "plots", "only plots may import matplotlib"
        if top == "scratchvae" and rest and rest[0] in FLOOR and rest[0] != room(path):
            assert FLOOR[rest[0]] < FLOOR[room(path)], f"{room(path)} must not import {name}"


def test_every_room_has_a_floor():
    assert {room(path) for path in FILES} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: str(path.relative_to(ROOT)))
def test_kernels_import_nothing_of_ours(path):
    package = ["kernels", *path.relative_to(ROOT / "kernels").parts[:-1]]
    outside = {"numpy", "numba", "llvmlite", "cupy", "cuda"} | set(sys.stdlib_module_names)
    assert {name.split(".")[0] for name in imports(path, package)} <= outside | {"kernels"}


HELPERS = {  # modules that serve several kernels
    *("convolution", "runtime", "window_sums"),
    *("blas", "channels", "convolution", "windows"),  # of cuda
}


def kernel_functions():
    """All public functions of the kernel modules, so that a misspelt name is noticed."""
    for engine, folder in KERNEL_FOLDER.items():
        package = importlib.import_module(f"scratchvae.kernels.{folder}")
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for name, function in inspect.getmembers(module, inspect.isfunction):
                helper = info.name in HELPERS or name.startswith("_")
                if not helper and function.__module__ == module.__name__:
                    yield engine, info.name, name, function


@pytest.mark.parametrize(("engine", "op", "name", "function"), [*kernel_functions()])
def test_kernels_stand_in_for_something(engine, op, name, function):
    """Each has a body with the same signature, and both functions of a pair exist."""
    functions = REGISTRY.get(op, {})
    assert name in functions, (
        f"kernels/{KERNEL_FOLDER[engine]}/{op}.py: {name} replaces no function of an op"
    )
    body = (
        functions[name].reference.__wrapped__
        if name.endswith("_forward")
        else functions[name].reference
    )
    assert list(inspect.signature(function).parameters) == list(inspect.signature(body).parameters)
    assert [p.default for p in inspect.signature(function).parameters.values()] == [
        p.default for p in inspect.signature(body).parameters.values()
    ]
    for end, other in (("_forward", "_backward"), ("_backward", "_forward")):
        if name.endswith(end):
            assert find_kernel(engine, op, name.removesuffix(end) + other), f"{name} has no {other}"


def test_numba_serves_the_ops_that_need_it():
    served = {name for engine, _, name, _ in kernel_functions() if engine == "numba"}
    assert {
        "conv2d_forward",
        "conv_transpose2d_forward",
        "max_pool2d_forward",
        "adam_step",
    } <= served
    assert find_kernel("numpy", "conv2d", "conv2d_forward") is None
    assert set(ENGINES) == {"numpy", *KERNEL_FOLDER}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "scratchvae/ops").glob("*.py")), ids=lambda p: p.stem
)
def test_ops_can_be_read_one_at_a_time(path):
    assert len(path.read_text().splitlines()) <= 150


def test_every_folder_is_packaged():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    folders = {path.parent.relative_to(ROOT).parts for path in FILES + KERNELS}
    assert listed == {".".join(("scratchvae", *f) if f[0] == "kernels" else f) for f in folders}


def test_the_core_imports_nothing_heavy():
    """Only plots imports matplotlib; Numba, CuPy, pooch, Pillow, Jinja2 and Pygments are imported
    when needed."""
    code = (
        "import sys, scratchvae; print([m for m in "
        "('matplotlib', 'numba', 'cupy', 'torch', 'pooch', 'PIL', 'requests', 'jinja2', 'pygments')"
        " if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stdout + run.stderr
