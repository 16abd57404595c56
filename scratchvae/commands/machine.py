"""What a time depends on: the processor, its cores, the BLAS and its threads, and versions."""

from __future__ import annotations

import platform
from importlib import import_module, metadata
from importlib.util import find_spec

from ..data.decode import cores
from ..runs.environment import cpu_name


def machine_facts() -> dict[str, str | int | None]:
    """The facts by name; None for what cannot be known here."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "blas": blas(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "cupy")},
    }


def blas() -> str | None:
    """Which BLAS, for which kind of processor, and on how many threads; None without threadpoolctl,
    which is no dependency."""
    if not find_spec("threadpoolctl"):
        return None
    pools = import_module("threadpoolctl").threadpool_info()
    return ", ".join(
        f"{pool['internal_api']} {pool.get('architecture', '')} x{pool['num_threads']}"
        for pool in pools
        if pool["user_api"] == "blas"
    )


def version(name: str) -> str | None:
    """Of what is installed under this name; CuPy is one of cupy-cuda12x, cupy-cuda13x and cupy."""
    for package in (f"{name}-cuda13x", f"{name}-cuda12x", name) if name == "cupy" else (name,):
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return None
