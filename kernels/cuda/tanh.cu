// y = tanh(x) and its gradient; see scratchvae/ops/tanh.py.
#include "common.cuh"

KERNEL tanh_forward(const T* x, T* y, int count) {
  int i = thread_number();
  if (i < count) y[i] = tanh(x[i]);
}

KERNEL tanh_backward(const T* dy, const T* y, T* dx, int count) {
  int i = thread_number();
  if (i < count) dx[i] = dy[i] * (1 - y[i] * y[i]);
}
