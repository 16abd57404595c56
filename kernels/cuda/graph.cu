// Add the losses of a training step to sums; see scratchvae/gpu/graph.py. One thread does it.
#include "common.cuh"

KERNEL record(const T* total, const T* reconstruction, const T* kl, double* sums, long long* bad_step,
              const long long* step, int N) {
  if (threadIdx.x > 0) return;
  sums[0] += double(N) * *total;
  sums[1] += double(N) * *reconstruction;
  sums[2] += double(N) * *kl;
  sums[3] += N;
  if (*bad_step == 0 && !isfinite(*total)) *bad_step = *step;
}
