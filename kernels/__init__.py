"""The fast kernels: functions of scratchvae.ops again, under the same file and function name.

`cpu/` holds Numba, `cuda/` holds CUDA C. Nothing here imports scratchvae: `scratchvae.backend`
finds a kernel by its name, and tests hold it equal to the body it stands in for.
"""
