"""The functions of cuBLAS that kernels/cuda/blas.py calls, on the CPU, also column-major."""

import ctypes

import numpy as np

products = 0  # so far
last = {}  # the settings of the last product's handle
told = {}  # handle -> its last settings: "stream", "workspace", "math mode"


def cublasCreate_v2(handle):
    handle._obj.value = len(told) + 1
    told[handle._obj.value] = {"math mode": 0}
    return 0


def cublasSetStream_v2(handle, stream):
    told[handle.value].update(stream=stream, workspace=None)
    return 0


def cublasSetWorkspace_v2(handle, pointer, size):
    told[handle.value]["workspace"] = (pointer, size)
    return 0


def cublasSetMathMode(handle, mode):
    told[handle.value]["math mode"] = mode
    return 0


def cublasSgemm_v2(handle, *arguments):
    return _gemm(ctypes.c_float, told[handle.value], *arguments)


def cublasDgemm_v2(handle, *arguments):
    return _gemm(ctypes.c_double, told[handle.value], *arguments)


def _gemm(number, told, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    import cupy

    global products
    products += 1
    last.update(told)
    if told.get("workspace") is None or told["stream"] != cupy.cuda.get_current_stream().ptr:
        return 1  # without a workspace it would allocate; or the wrong stream
    if min(m, n, k) < 1 or lda < (k if transpose_a else m) or ldb < (n if transpose_b else k):
        return 7  # CUBLAS_STATUS_INVALID_VALUE
    a = _columns(number, a, lda, m if transpose_a else k)
    b = _columns(number, b, ldb, k if transpose_b else n)
    c = _columns(number, c, ldc, n)
    a, b = a.T[:m, :k] if transpose_a else a[:m, :k], b.T[:k, :n] if transpose_b else b[:k, :n]
    alpha, beta = alpha._obj.value, beta._obj.value

    def work():
        np.copyto(c[:m], alpha * (a @ b) + (beta * c[:m] if beta else 0))

    cupy.cuda.perform(work)
    return 0


def _columns(number, pointer, rows, columns):
    """(rows, columns) of column-major memory."""
    return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(number)), (columns, rows)).T
