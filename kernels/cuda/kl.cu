// KL divergence of a diagonal Gaussian from N(0, I); see scratchvae/ops/kl.py.
#include "common.cuh"

// A block per image: y (N,).
KERNEL kl_forward(const T* mu, const T* logvar, T* y, int P) {
  __shared__ double warp_sums[32];
  double sum = 0;
  for (int p = threadIdx.x; p < P; p += blockDim.x) {
    T m = mu[blockIdx.x * P + p], v = logvar[blockIdx.x * P + p];
    sum += m * m + (expm1(v) - v);
  }
  sum = block_sum(sum, warp_sums);
  if (threadIdx.x == 0) y[blockIdx.x] = T(sum / 2);
}

KERNEL kl_backward(const T* dy, const T* mu, const T* logvar, T* dmu, T* dlogvar, int P, int count) {
  int i = thread_number();
  if (i >= count) return;
  T d = dy[i / P];
  dmu[i] = d * mu[i];
  dlogvar[i] = d * expm1(logvar[i]) / 2;
}
