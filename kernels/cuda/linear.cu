// The bias of a linear layer, added after the product; see scratchvae/ops/linear.py.
#include "common.cuh"

// y (N, O) += b (O,)
KERNEL add_bias(T* y, const T* b, int O, int count) {
  int i = thread_number();
  if (i < count) y[i] += b[i % O];
}
