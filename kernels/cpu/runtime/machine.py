"""What decides the last digits of the kernels' results, besides versions and thread counts."""

from __future__ import annotations

from hashlib import sha256

from numba.core.registry import cpu_target

from ..convolution.microkernel import VECTOR_BYTES
from . import blas

# Instructions that change how a sum is divided or rounded, named if the kernels are compiled for
# them. A digest stands for all the others.
NAMED = ("sse4.2", "avx", "avx2", "fma", "avx512f", "neon", "sve")


def instructions() -> dict[str, str | int | None]:
    """The instructions that kernels and BLAS use.

    Returns
    -------
    dict
        "compiled for": the processor that Numba compiles for, after NUMBA_CPU_NAME.
        "features": some of its features, after NUMBA_CPU_FEATURES, and a digest of all of them.
        "vector bytes": the width of the convolutions' vectors.
        "blas core": the processor type of OpenBLAS's kernels, after OPENBLAS_CORETYPE; None if
        BLAS is not OpenBLAS.
    """
    _, processor, features = cpu_target.target_context.codegen().magic_tuple()
    present = [name for name in NAMED if f"+{name}" in features.split(",")]
    digest = sha256(features.encode()).hexdigest()[:8]
    return {
        "compiled for": processor,
        "features": " ".join([*present, f"({digest})"]),
        "vector bytes": VECTOR_BYTES,
        "blas core": blas.core_name(),
    }
