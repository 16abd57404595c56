"""The stand-in's kernels: those of kernels/cuda, run on the CPU."""

import numpy as np

from on_host import build

from . import cuda


class RawModule:
    """Compiled with g++ instead of NVRTC: see on_host/build.py."""

    def __init__(self, *, code, options=(), name_expressions=None, **_):
        (kind,) = [option for option in options if option.startswith("-DREAL=")]
        self._dtype = {"-DREAL=float": "float32", "-DREAL=double": "float64"}[kind]

    def get_function(self, name):
        return _Function(self._dtype, name)


class _Function:
    launches = 0  # of all kernels

    def __init__(self, dtype, name):
        self._dtype, self._name = dtype, name

    def __call__(self, grid, block, args, *, shared_mem=0):
        import cupy

        arguments = []
        for a in args:
            if isinstance(a, cupy.ndarray):
                if not a.flags.c_contiguous:
                    raise ValueError(f"{self._name}: an array with strides {a.strides}")
                arguments.append(a._memory)
            elif isinstance(a, np.generic):
                arguments.append(None if a.dtype == np.uintp and a == 0 else a)
            else:
                raise TypeError(f"{self._name}: a {type(a).__name__} among the arguments")
        _Function.launches += 1
        cuda.perform(lambda: build.launch(self._dtype, self._name, grid, block, arguments))


class RawKernel:
    """Supports only the kernel of scratchvae/detect.py."""

    def __init__(self, code, name, options=()):
        if name != "twice":
            raise NotImplementedError(name)

    def __call__(self, grid, block, args, **_):
        (x,) = args
        x._memory.reshape(-1)[:1] *= 2
