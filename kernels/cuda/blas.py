"""Matrix products by cuBLAS, on a handle with a fixed workspace. (CuPy's handle may allocate
memory, so CuPy's matmul raises an error while a stream captures a graph.)"""

import ctypes
import functools

from . import contiguous, cupy, empty

WORKSPACE = 32 << 20  # bytes; what NVIDIA recommends for Hopper
GEMM = {"float32": "cublasSgemm_v2", "float64": "cublasDgemm_v2"}
SCALAR = {"float32": ctypes.c_float, "float64": ctypes.c_double}
TF32 = {False: 0, True: 3}  # CUBLAS_DEFAULT_MATH, CUBLAS_TF32_TENSOR_OP_MATH

_allow_tf32 = False


def allow_tf32(allowed):
    """Set whether float32 products may round their factors to 10 bits to use the tensor cores."""
    global _allow_tf32
    _allow_tf32 = bool(allowed)


def tf32_allowed():
    return _allow_tf32


def matmul(a, b, transpose_a=False, transpose_b=False):
    """The product a b of 2-D arrays, each transposed if asked; a new row-major array."""
    a, b = contiguous(a), contiguous(b)
    M, K = reversed(a.shape) if transpose_a else a.shape
    N = b.shape[0] if transpose_b else b.shape[1]
    c = empty((M, N), a.dtype)
    # cuBLAS is column-major: it takes each row-major matrix for its transpose, (ab)^T = b^T a^T
    dtype = str(a.dtype)
    one, zero = SCALAR[dtype](1), SCALAR[dtype](0)
    handle, _ = _handle(cupy().cuda.Device().id, cupy().cuda.get_current_stream().ptr)
    _call("cublasSetMathMode", handle, TF32[_allow_tf32])
    _call(
        GEMM[dtype], handle, int(transpose_b), int(transpose_a), N, M, K,
        ctypes.byref(one), b.data.ptr, b.shape[1], a.data.ptr, a.shape[1],
        ctypes.byref(zero), c.data.ptr, N,
    )  # fmt: skip
    return c


@functools.cache
def _handle(device, stream):
    """A cuBLAS handle and its workspace. Concurrent streams must not share one."""
    handle = ctypes.c_void_p()
    _call("cublasCreate_v2", ctypes.byref(handle))
    with cupy().cuda.using_allocator(cupy().get_default_memory_pool().malloc):  # it stays
        workspace = cupy().empty(WORKSPACE, "uint8")
    _call("cublasSetStream_v2", handle, stream)  # before the workspace, which this call resets
    _call("cublasSetWorkspace_v2", handle, workspace.data.ptr, WORKSPACE)
    return handle, workspace


def _call(function, *arguments):
    if status := getattr(_library(), function)(*arguments):
        raise RuntimeError(f"{function}: cuBLAS returned status {status}")


@functools.cache
def _library():
    """The cuBLAS that CuPy uses, with the argument types of the functions called here."""
    from cuda import pathfinder  # CuPy 14 needs it too

    library = ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    library.cublasCreate_v2.argtypes = [pointer]
    library.cublasSetStream_v2.argtypes = [pointer, pointer]
    library.cublasSetWorkspace_v2.argtypes = [pointer, pointer, size]
    library.cublasSetMathMode.argtypes = [pointer, number]
    for function in GEMM.values():
        getattr(library, function).argtypes = [
            pointer, number, number, number, number, number,
            pointer, pointer, number, pointer, number, pointer, pointer, number,
        ]  # fmt: skip
    return library
