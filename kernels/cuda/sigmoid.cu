// y = 1 / (1 + exp(-x)) and its gradient; see scratchvae/ops/sigmoid.py.
#include "common.cuh"

KERNEL sigmoid_forward(const T* x, T* y, int count) {
  int i = thread_number();
  if (i >= count) return;
  T e = exp(-fabs(x[i]));  // at most 1: no overflow
  y[i] = (x[i] >= 0 ? T(1) : e) / (1 + e);
}

KERNEL sigmoid_backward(const T* dy, const T* y, T* dx, int count) {
  int i = thread_number();
  if (i < count) dx[i] = dy[i] * y[i] * (1 - y[i]);
}
