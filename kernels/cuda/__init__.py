"""CUDA C kernels and their launchers, one `<op>.cu` and one `<op>.py` per op.

None is written yet: under `use("cuda")` an op runs its reference body on CuPy arrays, and
`scratchvae kernels` says so.
"""
