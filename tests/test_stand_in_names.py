"""Everything that the stand-in has and that scratchvae calls exists in the real CuPy, whose names
and parameters can be read without a GPU (pip install cupy-cuda13x)."""

import ast
import importlib
import inspect
import itertools
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from on_host import stand_in

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.cupy

STAND_IN = stand_in.modules()["cupy"]
PLACES = ("", "cuda", "cuda.runtime", "cuda.memory", "lib", "lib.stride_tricks", "linalg")
OURS = {
    "copies": "counts what a test asks about",
    "perform": "how the stand-in records work",
    "wait_for_device": "what waiting would do to a capture",
    "cuda.perform": "the same, at home",
    "cuda.wait_for_device": "the same, at home",
    "cuda.allocate": "the stand-in hands out NumPy's memory",
    "cuda.default_pool": "behind get_default_memory_pool",
    "cuda.TOTAL": "the memory it claims",
    "ndarray.__init__": "only the library itself calls this one,",
    "cuda.Graph.__init__": "this one",
    "cuda.MemoryPointer.__init__": "and this one",
}
# Files that handle CuPy arrays; the others only get what `asnumpy` returns.
FILES = [
    *(ROOT / "scratchvae").glob("*.py"),
    *(ROOT / "scratchvae/ops").glob("*.py"),
    *(ROOT / "scratchvae/models").glob("*.py"),
    *(ROOT / "scratchvae/plots").glob("*.py"),
    ROOT / "scratchvae/runs/trainer.py",
    *(ROOT / "kernels/cuda").glob("*.py"),
    ROOT / "benchmarks/gpu_ours.py",
]


@pytest.fixture(scope="module")
def real():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy warns if it finds no CUDA
        return importlib.import_module("cupy")


def find(root, name):
    """root.a.b for "a.b"; AttributeError if there is none."""
    for part in filter(None, name.split(".")):
        root = getattr(root, part)
    return root


def offered():
    """(name, object) for everything in the stand-in; classes with their members."""
    for place in PLACES:
        here = find(STAND_IN, place)
        for name, value in inspect.getmembers(here):
            dotted = f"{place}.{name}".lstrip(".")
            borrowed = inspect.ismodule(value) or getattr(value, "__module__", "") in (
                *("collections", "contextlib", "types", "weakref", "functools"),
            )
            if name.startswith("_") or borrowed:
                continue
            yield dotted, value
            if inspect.isclass(value) and value.__module__.startswith("cupy"):
                for member, inner in vars(value).items():
                    if not member.startswith("_") or member == "__init__":
                        yield f"{dotted}.{member}", inner


OFFERED = dict(offered())


@pytest.mark.parametrize("name", [name for name in OFFERED if not name.endswith("__init__")])
def test_the_real_one_has_what_the_stand_in_offers(real, name):
    if name in OURS:
        with pytest.raises(AttributeError):
            find(real, name)
    else:
        find(real, name)


# ------------------------------------------------------------------------------ what our code calls


def is_cupy(node):
    """xp, cupy, cupy(), import_module("cupy"), array_module(x): the library itself."""
    match node:
        case ast.Name(id="xp" | "cupy") | ast.Attribute(attr="_cupy"):
            return True
        case ast.Call(func=ast.Name(id="cupy" | "array_module")):
            return True
        case ast.Call(args=[ast.Constant(value="cupy")]):
            return True
    return False


def used(path):
    """(dotted name in CuPy, line, call or None) for everything that a file uses. A name that looks
    like an array method counts as one (some are NumPy's, but could be CuPy's), except on a module
    that the file imports: json.dumps is no method of an array."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    modules = {alias.asname or alias.name for node in imports for alias in node.names}
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        names, root = [node.attr], node.value
        while isinstance(root, ast.Attribute) and not is_cupy(root):
            names, root = [root.attr, *names], root.value
        if is_cupy(root):
            yield ".".join(names), node.lineno, calls.get(id(node))
        elif hasattr(np.ndarray, node.attr) and ast.unparse(root) not in modules:
            yield f"ndarray.{node.attr}", node.lineno, calls.get(id(node))


USED = [(path.relative_to(ROOT), *use) for path in sorted(FILES) for use in used(path)]


def test_the_walk_finds_what_is_known():
    found = {name for _, name, _, _ in USED}
    assert {
        "cuda.is_available",
        "cuda.using_allocator",
        "RawModule",
        "asarray",
        "tensordot",
        "zeros_like",
    } <= found
    assert {"ndarray.sum", "ndarray.transpose", "ndarray.flags", "ndarray.dtype"} <= found
    assert "ndarray.dumps" not in found  # json.dumps


def test_our_code_takes_nothing_that_is_not_there(real):
    missing = []
    for path, name, line, _ in USED:
        try:
            find(real, name)
        except AttributeError:
            missing.append(f"{path}:{line} {name}")
    assert not missing


# ------------------------------------------------------------------------------ parameters


def parameters(function):
    """(names, number of positional ones) of a Python function, or of a function compiled by Cython,
    whose help begins with them: f(self, int a, b=None, *, c=1). None if they are not known."""
    try:
        known = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
        names = {p.name for p in known}
        by_position = [p for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        many = any(p.kind is p.VAR_POSITIONAL for p in known)
    except (ValueError, TypeError):
        first = (function.__doc__ or "").partition("\n")[0].replace("\\", "")
        if not (match := re.match(r"[\w.]+\((.*?)\)( ->.*)?$", first)):
            return None
        texts = [text.partition("=")[0].split()[-1] for text in match[1].split(",") if text.strip()]
        texts = [text for text in texts if text not in ("self", "/")]
        names = {text.lstrip("*") for text in texts} - {""}
        by_position = [*itertools.takewhile(lambda text: not text.startswith("*"), texts)]
        many = any(re.match(r"\*\w", text) for text in texts)
    return names, 99 if many else len(by_position)


def test_parameters_are_read():
    def python(self, a, b=1, *, c=2): ...

    compiled = SimpleNamespace(__doc__="C.f(self, int a, b='C', *, bint c=True) -> int\n\nHelp.")
    variadic = SimpleNamespace(__doc__="f(self, *axes, order='C')")
    assert parameters(python) == parameters(compiled) == ({"a", "b", "c"}, 2)
    assert parameters(variadic) == ({"axes", "order"}, 99)
    assert parameters(SimpleNamespace(__doc__="Device.")) is None


def test_our_calls_fit(real):
    wrong = []
    for path, name, line, call in USED:
        if call is None or (known := parameters(find(real, name))) is None:
            continue
        names, by_position = known
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        keywords = {keyword.arg for keyword in call.keywords} - {None}
        keywords = set() if "kwargs" in names else keywords - names
        if keywords or (len(call.args) > by_position and not starred):
            wrong.append(f"{path}:{line} {ast.unparse(call)}, but CuPy has {name}{sorted(names)}")
    assert not wrong


FUNCTIONS = [n for n, f in OFFERED.items() if inspect.isfunction(f) and n not in OURS]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_stand_in_asks_for_nothing_else(real, name):
    theirs, ours = (parameters(find(of, name.removesuffix(".__init__"))) for of in (real, STAND_IN))
    assert theirs, f"{name}: CuPy does not document its parameters"
    assert ours[0] - {"args", "kwargs", "_"} <= theirs[0], f"CuPy has {sorted(theirs[0])}"
