"""What the numbers of a benchmark depend on: versions, processor, BLAS, and how fast it can be."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def sgemm_peak(size: int = 2048, repeats: int = 5) -> float:
    """GFLOP/s of float32 products of two size x size matrices by `np.matmul`, the best of some."""
    a, b = np.random.default_rng(0).standard_normal((2, size, size), "float32")
    c = np.empty_like(a)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(a, b, out=c)
        seconds.append(time.perf_counter() - start)
    return 2e-9 * size**3 / min(seconds)


def machine_facts() -> dict[str, str]:
    """What the numbers depend on, as seen from this process; torch only where it is imported."""
    facts = {"Python": platform.python_version()}
    facts |= {name: metadata.version(name) for name in ("numpy", "numba")}
    facts |= {"CPU": cpu_name(), "cores": str(cores()), "BLAS": blas()}
    if torch := sys.modules.get("torch"):
        facts["torch"] = torch.__version__
        facts["torch threads"] = str(torch.get_num_threads())
    return facts


def machine_lines(facts: dict[str, str]) -> str:
    """`machine_facts` for people. A busy machine shows in its load: processes that want to run."""
    names = {"Python": "Python", "numpy": "NumPy", "numba": "Numba", "torch": "PyTorch"}
    versions = ", ".join(f"{names[key]} {facts[key]}" for key in names if key in facts)
    torch = f"; PyTorch x{facts['torch threads']}" if "torch threads" in facts else ""
    load = f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{versions}\n{facts['CPU']}, {facts['cores']} cores; {facts['BLAS']}{torch}{load}"


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def blas() -> str:
    """Which BLAS, for which kind of processor, and on how many threads."""
    if not find_spec("threadpoolctl"):
        return "pip install threadpoolctl to see which BLAS"
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return ", ".join(f"{p['internal_api']} {p['architecture']} x{p['num_threads']}" for p in pools)


def has_torch() -> bool:
    return find_spec("torch") is not None
