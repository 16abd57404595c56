// Leaky ReLU and its gradient; see scratchvae/ops/leaky_relu.py.
#include "common.cuh"

KERNEL leaky_relu_forward(const T* x, T slope, T* y, int count) {
  int i = thread_number();
  if (i < count) y[i] = leaky_relu(x[i], slope);
}

// x may be y where the slope is not negative: they have the same sign.
KERNEL leaky_relu_backward(const T* dy, const T* x, T slope, T* dx, int count) {
  int i = thread_number();
  if (i < count) dx[i] = x[i] > 0 ? dy[i] : slope * dy[i];
}
