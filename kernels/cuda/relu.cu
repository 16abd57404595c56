// y = max(x, 0) and its gradient; see scratchvae/ops/relu.py.
#include "common.cuh"

KERNEL relu_forward(const T* x, T* y, int count) {
  int i = thread_number();
  if (i < count) y[i] = x[i] <= 0 ? T(0) : x[i];  // x <= 0 is false for NaN, so that NaN stays
}

KERNEL relu_backward(const T* dy, const T* y, T* dx, int count) {
  int i = thread_number();
  if (i < count) dx[i] = y[i] > 0 ? dy[i] : T(0);
}
