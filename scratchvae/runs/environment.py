"""Where a run computes: whatever may move the last digits of its numbers."""

from __future__ import annotations

import importlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..backend import numba_problem


def environment(engine: str) -> dict[str, Any]:
    """Facts about this machine and its libraries, JSON-ready: engine, threads, versions, cpu, gpu
    (if it is the engine)."""
    packages = ["numpy", "numba"]
    facts: dict[str, Any] = {"engine": engine, **threads(), "cpu": cpu_name()}
    if engine == "cuda":
        packages += ["cupy", "cupy-cuda12x", "cupy-cuda13x"]
        facts["gpu"] = gpu()
    versions = {"scratchvae": __version__, "python": platform.python_version()}
    versions |= {name: found for name in packages if (found := _version(name))}
    return facts | {"versions": versions}


def threads() -> dict[str, int]:
    """How many threads compute, in the kernels and in BLAS beside them: on another number of them
    sums are cut up differently."""
    if numba_problem() is None:
        kernels = importlib.import_module("scratchvae.kernels.cpu.runtime.threads")
        return {"threads": int(kernels.cores()), "blas threads": int(kernels.blas_threads())}
    asked = os.environ.get("OPENBLAS_NUM_THREADS", "")  # OpenBLAS ignores 0 and what is no number
    return {"blas threads": int(asked if asked.isdecimal() else 0) or os.cpu_count() or 1}


def cpu_name() -> str:
    """The processor's name: another one may have other vector instructions."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def gpu() -> str:
    """The GPU's name: cuBLAS picks its algorithms by it."""
    runtime = importlib.import_module("cupy").cuda.runtime
    return str(runtime.getDeviceProperties(0)["name"].decode())


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What has changed, in words such as "threads 2 -> 1"."""
    flat_before, flat_now = _flat(before), _flat(now)
    return [
        f"{name} {flat_before.get(name, 'unknown')} -> {flat_now.get(name, 'none')}"
        for name in [*flat_now, *(flat_before.keys() - flat_now.keys())]
        if flat_before.get(name) != flat_now.get(name)
    ]


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    versions = facts.get("versions")
    others = {name: value for name, value in facts.items() if name != "versions"}
    return others | (versions if isinstance(versions, dict) else {})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
