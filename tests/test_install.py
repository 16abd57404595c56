"""The package works from any directory, however it was installed."""

import os
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


def python(*arguments, cwd, path=None):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
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


@pytest.fixture
def source(tmp_path):
    """A copy of the installed files, so that a build creates its folders there."""
    for name in ("scratchvae", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / "source" / name)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "source")
    return str(tmp_path / "source")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["editable", "normal", "wheel"])
def test_it_is_found_from_every_folder(tmp_path, source, kind):
    """Also from the parent folder of a clone named scratchvae, which looks like a package."""
    clone = tmp_path / "projects" / "scratchvae"
    shutil.move(source, clone)
    venv.create(tmp_path / "venv", with_pip=True)
    pip = [str(tmp_path / "venv/bin/python"), "-m", "pip", "install", "-q", "--no-deps"]
    if kind == "wheel":
        python(
            "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(clone), cwd=tmp_path
        )
        pip.append(str(next(tmp_path.glob("scratchvae-*.whl"))))
    else:
        pip += [*["-e"] * (kind == "editable"), str(clone)]
    subprocess.run(pip, check=True, cwd=tmp_path)
    libraries = [path for path in sys.path if Path(path).name == "site-packages"]  # numpy, numba
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(libraries)}
    for folder in (clone.parent, clone, clone / "examples", tmp_path):
        folder.mkdir(exist_ok=True)
        run = [str(tmp_path / "venv/bin/python"), "-c", PROBE]
        done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{kind} install, from {folder}: {done.stderr}"
        package = Path(done.stdout.splitlines()[0])
        here = kind == "editable" or folder == clone
        expected = clone if here else tmp_path / "venv"
        assert package.is_relative_to(expected), f"{kind} install, from {folder}: {package}"


@pytest.mark.slow
def test_a_normal_install(tmp_path, source):
    site = tmp_path / "site"
    python("-m", "pip", "install", "-q", "--no-deps", "--target", str(site), source, cwd=tmp_path)
    inside = [str(site / "scratchvae/__init__.py"), str(site / "scratchvae/kernels/cpu/conv2d.py")]
    assert python("-c", PROBE, cwd=tmp_path, path=site).splitlines() == inside
    assert "kernels/cpu/conv2d.py" in python("-m", "scratchvae", "kernels", cwd=tmp_path, path=site)
    # run from the checkout, whose folder is first on the path, the right files are imported
    package, kernel = python("-c", PROBE, cwd=ROOT, path=site).splitlines()
    assert package == str(ROOT / "scratchvae/__init__.py")
    assert kernel == str(ROOT / "kernels/cpu/conv2d.py")


@pytest.mark.slow
def test_the_wheel_holds_everything(tmp_path, source):
    python("-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("scratchvae-*.whl")
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
