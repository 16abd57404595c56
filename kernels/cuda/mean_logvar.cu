// Mean and log of the variance of an image, and their gradient; see scratchvae/ops/mean_logvar.py.
#include "common.cuh"

// A block per image of P values, read twice, because mean(x^2) - mean(x)^2 would lose digits.
KERNEL mean_logvar_forward(const T* x, T eps, T* y, double* mean, double* var_plus_eps, int N,
                           int P) {
  __shared__ double warp_sums[2][32];
  int n = blockIdx.x;
  const T* image = x + n * P;
  double sum = 0;
  for (int i = threadIdx.x; i < P; i += blockDim.x) sum += image[i];
  double average = block_sum(sum, warp_sums[0]) / P;

  double squares = 0;
  for (int i = threadIdx.x; i < P; i += blockDim.x) {
    double deviation = image[i] - average;
    squares += deviation * deviation;
  }
  double spread = block_sum(squares, warp_sums[1]) / P + eps;

  if (threadIdx.x == 0) {
    y[n] = average;
    y[N + n] = log(spread);
    mean[n] = average;
    var_plus_eps[n] = spread;
  }
}

KERNEL mean_logvar_backward(const T* dy, const T* x, const double* mean, const double* var_plus_eps,
                            int N, int P, T* dx, int count) {
  int i = thread_number();
  if (i >= count) return;
  int n = i / P;
  T deviation = x[i] - mean[n];
  T dvar = dy[N + n] / T(var_plus_eps[n]);
  dx[i] = (dy[n] + 2 * dvar * deviation) / P;
}
