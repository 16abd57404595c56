"""The machine, libraries and data of a run, recorded in config.json."""

from __future__ import annotations

import importlib
import os
import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..backend import numba_problem
from ..data import Dataset
from ..data.decode import cores

CUPY = ("cupy", "cupy-cuda12x", "cupy-cuda13x")  # its names in the package index


def environment(engine: str) -> dict[str, Any]:
    """All that affects the last digits of results: engine, threads, CPU, GPU, versions."""
    found: dict[str, Any] = {"engine": engine, **threads(), "cpu": cpu_name()}
    if engine == "cuda":  # cuBLAS chooses its algorithms by the GPU
        runtime = importlib.import_module("cupy").cuda.runtime
        found["gpu"] = str(runtime.getDeviceProperties(0)["name"].decode())
    versions = {"scratchvae": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", *(CUPY if engine == "cuda" else ())):
        if installed := _version(package):
            versions[package] = installed
    return found | {"versions": versions}


def machine_facts() -> dict[str, str | int | None]:
    """What a measured time depends on; None if unknown."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "blas": blas(),
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


def cpu_name() -> str:
    """The processor's name, which determines the vector instructions."""
    with suppress(OSError):
        if found := re.search(r"^model name\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M):
            return found[1].strip()
    return platform.processor() or platform.machine()


def blas() -> str | None:
    """BLAS library, processor type and threads; None without threadpoolctl, which is optional."""
    if not find_spec("threadpoolctl"):
        return None
    pools = importlib.import_module("threadpoolctl").threadpool_info()
    return ", ".join(
        f"{pool['internal_api']} {pool.get('architecture', '')} x{pool['num_threads']}"
        for pool in pools
        if pool["user_api"] == "blas"
    )


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The differences between two environments, as text such as "threads 2 -> 1"."""
    old, new = _flat(before), _flat(now)
    return [
        f"{name} {old.get(name, 'unknown')} -> {new.get(name, 'none')}"
        for name in [*new, *(old.keys() - new.keys())]
        if old.get(name) != new.get(name)
    ]


def about_data(data: Dataset) -> dict[str, Any]:
    """What identifies a data set: name, digest and counts."""
    counts = {"train_images": len(data.train_images), "test_images": len(data.test_images)}
    return {"name": data.name, "sha256": data.digest(), **counts}


def same_data(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether it is the same data set, perhaps under another name."""
    return all(before.get(name) == now[name] for name in now if name != "name")


def data_in_words(about: dict[str, Any]) -> str:
    """The result of `about_data` as text."""
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
