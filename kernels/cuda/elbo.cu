// The objective, a mean over the batch; see scratchvae/ops/elbo.py.
#include "common.cuh"

// One block. losses = total, reconstruction, kl.
KERNEL elbo_forward(const T* reconstruction, const T* kl, T* losses, const double* beta, int N) {
  __shared__ double warp_sums[2][32];
  double sum = 0, kl_sum = 0;
  for (int n = threadIdx.x; n < N; n += blockDim.x) sum += reconstruction[n], kl_sum += kl[n];
  sum = block_sum(sum, warp_sums[0]) / N;
  kl_sum = block_sum(kl_sum, warp_sums[1]) / N;
  if (threadIdx.x > 0) return;
  losses[0] = T(sum + *beta * kl_sum);
  losses[1] = T(sum), losses[2] = T(kl_sum);
}

KERNEL elbo_backward(T* dreconstruction, T* dkl, const double* beta, T dtotal, int N) {
  int n = thread_number();
  if (n >= N) return;
  dreconstruction[n] = dtotal / N;
  dkl[n] = T(*beta) * (dtotal / N);
}
