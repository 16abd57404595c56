"""The machine, libraries and data of a run, recorded in config.json."""

from __future__ import annotations

import importlib
import os
import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..backend import numba_problem
from ..data import Dataset, made_with
from ..data.decode import cores

CUPY = ("cupy", "cupy-cuda12x", "cupy-cuda13x")  # its names in the package index


def environment(engine: str) -> dict[str, Any]:
    """All that affects the last digits of results: engine, threads, CPU, BLAS, GPU, versions."""
    found: dict[str, Any] = {"engine": engine, **threads(), **processor()}
    if engine == "cuda":  # cuBLAS chooses its algorithms by the GPU
        runtime = importlib.import_module("cupy").cuda.runtime
        found["gpu"] = str(runtime.getDeviceProperties(0)["name"].decode())
    versions = {"scratchvae": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "llvmlite", *(CUPY if engine == "cuda" else ())):
        if installed := _version(package):
            versions[package] = installed
    return found | {"versions": versions}


def machine_facts() -> dict[str, str | int | None]:
    """What a measured time depends on; None if unknown."""
    return {
        **processor(),
        "cores": cores(),
        **threads(),
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "numba": _version("numba"),
        "cupy": next(filter(None, map(_version, CUPY)), None),
    }


def threads() -> dict[str, int]:
    """Thread counts of the kernels and of BLAS, which decide how sums are divided."""
    if numba_problem() is None:
        kernels = importlib.import_module("scratchvae.kernels.cpu.runtime.threads")
        return {"threads": int(kernels.cores()), "blas threads": int(kernels.blas_threads())}
    asked = os.environ.get("OPENBLAS_NUM_THREADS", "")  # OpenBLAS ignores 0 and non-numbers
    return {"blas threads": int(asked if asked.isdecimal() else 0) or os.cpu_count() or 1}


def processor() -> dict[str, str | None]:
    """The processor, and the instructions that kernels and BLAS use on it."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        if line := re.search(r"^model name\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M):
            name = line[1].strip()
    found: dict[str, str | None] = {"cpu": name, "numpy's instructions": _numpy_features()}
    if numba_problem() is None:
        machine = importlib.import_module("scratchvae.kernels.cpu.runtime.machine")
        found |= machine.instructions()
    return found


def _numpy_features() -> str | None:
    """How far NumPy uses this processor; $NPY_DISABLE_CPU_FEATURES takes instructions away."""
    try:
        known = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return None
    names = [name for name in known if known[name]]
    return f"{names[-1]}, {len(names)} features" if names else "none"


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences between two environments, as text such as "threads 2 -> 1". What an earlier
    version did not record is no difference."""
    old, new = _flat(before), _flat(now)
    return [
        f"{name} {old[name]} -> {new.get(name, 'none')}"
        for name in old
        if old[name] != new.get(name)
    ]


def about_data(data: Dataset, source: str, options: dict[str, Any]) -> dict[str, Any]:
    """What identifies a data set, loaded as `source` with the `options` about images: name, digest,
    counts, and the versions that made it."""
    counts = {"train_images": len(data.train_images), "test_images": len(data.test_images)}
    found = {"name": data.name, "sha256": data.digest(), **counts}
    return found | {"made with": made_with(source, **options)}


def same_data(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether it is the same data set, perhaps under another name."""
    return before.get("sha256") == now["sha256"]


def changed_data(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How two data sets differ, results of `about_data`, as text."""
    made = differences(before.get("made with", {}), now["made with"])
    why = f", which other versions made: {', '.join(made)}" if made else ""
    return f"the run began with {_in_words(before)}, now it is {_in_words(now)}{why}"


def _in_words(about: dict[str, Any]) -> str:
    name, train, test = (about.get(key) for key in ("name", "train_images", "test_images"))
    digest = str(about.get("sha256"))[:12]
    return f"{name}, {train} training and {test} test images (SHA-256 {digest}...)"


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    versions = found.get("versions")
    others = {name: value for name, value in found.items() if name != "versions"}
    return others | (versions if isinstance(versions, dict) else {})


def _version(package: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(package)
    return None
