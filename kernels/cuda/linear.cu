// What comes after a linear layer's product; see scratchvae/ops/linear_leaky_relu.py.
#include "common.cuh"

// y (N, O), in place: the bias, or null, then leaky ReLU.
KERNEL finish_rows(T* y, const T* b, T slope, int count, int O) {
  int i = thread_number();
  if (i >= count) return;
  y[i] = leaky_relu(b ? y[i] + b[i % O] : y[i], slope);
}
