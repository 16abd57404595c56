// KL divergence of a diagonal Gaussian from N(0, I), also with free bits; see scratchvae/ops/kl*.py.
#include "common.cuh"

__device__ inline T twice_kl(T m, T v) { return m * m + (expm1(v) - v); }

// Mark the dimensions whose average is below free_bits: 32 per block, whose 32 warps share the images.
KERNEL find_free(const T* mu, const T* logvar, bool* free, T free_bits, int N, int P) {
  __shared__ double partial[32][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, p = blockIdx.x * 32 + lane;
  double sum = 0;
  if (p < P)
    for (int n = warp; n < N; n += 32) sum += twice_kl(mu[n * P + p], logvar[n * P + p]);
  partial[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || p >= P) return;
  for (int other = 1; other < 32; other++) sum += partial[other][lane];
  free[p] = sum / (2 * N) < free_bits;  // false for NaN, so that NaN stays
}

// A block per image: y (N,). free: null, or a mark for each dimension that counts as free_bits.
KERNEL kl_forward(const T* mu, const T* logvar, const bool* free, T* y, T free_bits, int P) {
  __shared__ double warp_sums[32];
  double sum = 0;
  for (int p = threadIdx.x; p < P; p += blockDim.x) {
    int i = blockIdx.x * P + p;
    sum += free && free[p] ? 2 * free_bits : twice_kl(mu[i], logvar[i]);
  }
  sum = block_sum(sum, warp_sums);
  if (threadIdx.x == 0) y[blockIdx.x] = T(sum / 2);
}

KERNEL kl_backward(const T* dy, const T* mu, const T* logvar, const bool* free, T* dmu, T* dlogvar,
                   int P, int count) {
  int i = thread_number();
  if (i >= count) return;
  T d = free && free[i % P] ? T(0) : dy[i / P];
  dmu[i] = d * mu[i];
  dlogvar[i] = d * expm1(logvar[i]) / 2;
}
