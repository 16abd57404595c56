// Cross-entropy from logits, and its gradient in the same pass; see scratchvae/ops/bce.py.
#include "common.cuh"

// A block per image: y (N,), and difference = s(l) - t in the shape of the logits. On the CPU a target
// outside [0, 1] raises an error; that would have to wait for the GPU, so here the loss becomes NaN.
KERNEL bce_forward(const T* logits, const T* target, T* y, T* difference, int P) {
  __shared__ double warp_sums[32];
  double sum = 0;
  for (int p = threadIdx.x; p < P; p += blockDim.x) {
    int i = blockIdx.x * P + p;
    T l = logits[i], t = target[i];
    T e = exp(l > 0 ? -l : l);  // exp(-|l|) does not overflow
    difference[i] = (l > 0 ? T(1) : e) / (1 + e) - t;
    sum += t >= 0 && t <= 1 ? (l > 0 ? l : T(0)) - t * l + log1p(e) : T(nan(""));
  }
  sum = block_sum(sum, warp_sums);
  if (threadIdx.x == 0) y[blockIdx.x] = T(sum);
}

KERNEL bce_backward(const T* dy, const T* difference, int P, T* dlogits, int count) {
  int i = thread_number();
  if (i < count) dlogits[i] = dy[i / P] * difference[i];
}
