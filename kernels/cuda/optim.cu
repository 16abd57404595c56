// Optimizer steps over flat arrays, a thread per parameter; see scratchvae/optim.py.
#include "common.cuh"

KERNEL sgd_step(T* value, const T* grad, T* velocity, const double* lr, T momentum, T weight_decay,
                int nesterov, int count) {
  int i = thread_number();
  if (i >= count) return;
  T g = grad[i] + weight_decay * value[i];
  T v = velocity[i] = momentum * velocity[i] + g;
  value[i] -= T(*lr) * (nesterov ? g + momentum * v : v);
}

// One thread computes `moving`, in double. shrinking: AdamW's weight_decay, else 0.
KERNEL adam_moving(double* moving, const long long* step, const double* lr, double beta1, double beta2,
                   double shrinking) {
  if (threadIdx.x > 0) return;
  moving[0] = *lr / (1 - pow(beta1, double(*step)));
  moving[1] = 1 / sqrt(1 - pow(beta2, double(*step)));
  moving[2] = 1 - *lr * shrinking;
}

KERNEL adam_step(T* value, const T* grad, T* m, T* v, const double* moving, T beta1, T rest1,
                 T beta2, T rest2, T eps, T decay, int count) {
  int i = thread_number();
  if (i >= count) return;
  const T step_size = T(moving[0]), root = T(moving[1]), shrink = T(moving[2]);
  T old = value[i] * shrink, g = grad[i] + decay * value[i];
  T first = m[i] = beta1 * m[i] + rest1 * g;
  T second = v[i] = beta2 * v[i] + rest2 * g * g;
  value[i] = old - step_size * first / (sqrt(second) * root + eps);
}

// Sums of squares, three for each block: of small and of large numbers, scaled so that their squares fit into
// a double, and of all others (Blue 1978, "A portable Fortran program to find the Euclidean norm of a vector").
KERNEL square_parts(const T* grad, double* parts, int count) {
  __shared__ double warp_sums[3][32];
  double small = 0, medium = 0, large = 0;
  for (int i = thread_number(); i < count; i += gridDim.x * blockDim.x) {
    double g = fabs(double(grad[i]));
    if (g > 0x1p500) large += g * 0x1p-600 * (g * 0x1p-600);
    else if (g < 0x1p-500) small += g * 0x1p600 * (g * 0x1p600);
    else medium += g * g;  // also NaN
  }
  small = block_sum(small, warp_sums[0]), medium = block_sum(medium, warp_sums[1]);
  large = block_sum(large, warp_sums[2]);
  parts += 3 * blockIdx.x;
  if (threadIdx.x == 0) parts[0] = small, parts[1] = medium, parts[2] = large;
}

// Scale grad to a norm of at most max_norm; norm_of: the norm before. If it is NaN or infinite, grad stays.
KERNEL clip(T* grad, const double* parts, double* norm_of, T max_norm, int part_count, int count) {
  __shared__ double warp_sums[3][32];
  double sums[3] = {0, 0, 0};
  for (int part = threadIdx.x; part < part_count; part += blockDim.x)
    for (int k = 0; k < 3; k++) sums[k] += parts[3 * part + k];
  double small = block_sum(sums[0], warp_sums[0]), medium = block_sum(sums[1], warp_sums[1]);
  double large = block_sum(sums[2], warp_sums[2]);
  double norm = sqrt(medium + small * 0x1p-600 * 0x1p-600);  // twice: 2^-1200 is no double
  if (large > 0) norm = sqrt(large + medium * 0x1p-600 * 0x1p-600) * 0x1p600;
  else if (medium == 0) norm = sqrt(small) * 0x1p-600;
  int i = thread_number();
  if (i == 0) *norm_of = norm;
  if (i < count && norm > max_norm && isfinite(norm)) grad[i] *= T(max_norm / (norm + 1e-6));
}
