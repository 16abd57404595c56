"""Fast versions of the functions in scratchvae.ops, under the same names: `cpu/` in Numba, `cuda/`
in CUDA C. No file here imports scratchvae; `scratchvae.backend` finds a kernel by its name."""
