"""The package works from any directory, however it was installed."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

import pytest

import scratchvae

ROOT = Path(__file__).resolve().parents[1]
PROBE = (
    "import scratchvae, scratchvae.kernels.cpu.conv2d as kernel, scratchvae.kernels.cuda;"
    "print(scratchvae.__file__); print(kernel.__file__)"
)


def python(*arguments, cwd, path=None, run_by=sys.executable):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [run_by, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_installed_package_is_found_from_elsewhere(tmp_path):
    try:
        installed = version("scratchvae")
    except PackageNotFoundError:
        pytest.skip("scratchvae runs from the checkout here, it is not installed")
    assert installed == scratchvae.__version__
    python("-c", PROBE, cwd=tmp_path)
    assert "scratchvae" in {script.name for script in entry_points(group="console_scripts")}


def test_a_checkout_works_without_an_install():
    out = python("-c", PROBE, cwd=ROOT, path=ROOT).splitlines()
    assert out == [str(ROOT / "scratchvae/__init__.py"), str(ROOT / "kernels/cpu/conv2d.py")]


def test_ci_reads_the_minimum_versions_from_setup_cfg():
    """A requirement in another form than NAME>=VERSION would not be installed in that version."""
    script = (ROOT / ".ci/run").read_text()
    code = script.partition("oldest.txt\" <<'PYTHON'\n")[2].partition("PYTHON\n")[0]
    pins = python("-c", code, cwd=ROOT).split()
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in pins)
    names = {pin.partition("=")[0] for pin in pins}
    assert {"numpy", "numba", "matplotlib", "Pillow", "pytest"} <= names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    copy_source(folder / "source")
    python("-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), "./source", cwd=folder)
    return next(folder.glob("scratchvae-*.whl"))


def copy_source(folder):
    """A copy of the files that are installed, because a build creates folders beside them."""
    for name in ("scratchvae", "kernels"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["editable", "wheel"])
def test_it_is_found_from_every_folder(tmp_path, wheel, kind):
    """Also from the parent folder of a clone named scratchvae, which looks like a package."""
    clone = tmp_path / "projects" / "scratchvae"
    copy_source(clone)
    venv.create(tmp_path / "venv", symlinks=True)
    interpreter = str(tmp_path / "venv/bin/python")
    what = ["-e", clone] if kind == "editable" else [wheel]
    install = ["--python", interpreter, "install", "-q", "--no-deps", *what]
    python("-m", "pip", *install, cwd=tmp_path)
    libraries = [path for path in sys.path if Path(path).name == "site-packages"]  # numpy, numba

    def found_from(folder):
        out = python("-c", PROBE, cwd=folder, path=os.pathsep.join(libraries), run_by=interpreter)
        return [Path(line) for line in out.splitlines()]

    for folder in (clone.parent, clone, clone / "examples", tmp_path):
        folder.mkdir(exist_ok=True)
        here = kind == "editable" or folder == clone
        expected = clone if here else tmp_path / "venv"
        package, kernel = found_from(folder)
        assert package.is_relative_to(expected), f"{kind} install, from {folder}: {package}"
        kernels = clone if here else package.parent  # in a wheel they are inside scratchvae
        assert kernel == kernels / "kernels/cpu/conv2d.py", f"{kind} install, from {folder}"


@pytest.mark.slow
def test_the_wheel_holds_everything(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        p.relative_to(ROOT) for d in ("scratchvae", "kernels") for p in (ROOT / d).rglob("*.py")
    }
    expected = {
        str(Path("scratchvae", source) if source.parts[0] == "kernels" else source)
        for source in sources
    }
    assert expected | {"scratchvae/py.typed"} <= names
    assert not any(name.startswith(("kernels", "tests", "examples")) for name in names)
