"""The functions of scratchvae.ops again, under the same names: `cpu/` in Numba, `cuda/` in CUDA C.

Nothing here imports scratchvae: `scratchvae.backend` finds a kernel by its name."""
