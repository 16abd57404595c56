// Squared error; see scratchvae/ops/mse.py.
#include "common.cuh"

// A block per image: y (N,), and the difference for backward.
KERNEL mse_forward(const T* prediction, const T* target, T* y, T* difference, int P, int divisor) {
  __shared__ double warp_sums[32];
  double sum = 0;
  for (int p = threadIdx.x; p < P; p += blockDim.x) {
    int i = blockIdx.x * P + p;
    T d = prediction[i] - target[i];
    difference[i] = d;
    sum += double(d) * d;
  }
  sum = block_sum(sum, warp_sums);
  if (threadIdx.x == 0) y[blockIdx.x] = T(sum / divisor);
}

KERNEL mse_backward(const T* dy, const T* difference, int P, int divisor, T* dprediction, int count) {
  int i = thread_number();
  if (i < count) dprediction[i] = dy[i / P] * difference[i] * (T(2) / divisor);
}
