// Optimizer steps over flat arrays, a thread for each parameter; see scratchvae/optim.py.
//
// What changes from step to step in a graph is read from the device: `moving`, or null.
#include "common.cuh"

KERNEL sgd_step(T* value, const T* grad, T* velocity, const double* moving, T lr, T momentum,
                T weight_decay, int nesterov, int count) {
  int i = thread_number();
  if (i >= count) return;
  if (moving) lr = T(*moving);
  T g = grad[i] + weight_decay * value[i];
  T v = velocity[i] = momentum * velocity[i] + g;
  value[i] -= lr * (nesterov ? g + momentum * v : v);
}

// moving = lr / (1 - beta1^step), 1 / sqrt(1 - beta2^step), 1 - lr weight_decay, in double. One thread
// works; shrinking is weight_decay for AdamW, else 0.
KERNEL adam_moving(double* moving, const long long* step, const double* lr, double beta1, double beta2,
                   double shrinking) {
  if (threadIdx.x > 0) return;
  moving[0] = *lr / (1 - pow(beta1, double(*step)));
  moving[1] = 1 / sqrt(1 - pow(beta2, double(*step)));
  moving[2] = 1 - *lr * shrinking;
}

KERNEL adam_step(T* value, const T* grad, T* m, T* v, const double* moving, T step_size, T root,
                 T shrink, T beta1, T rest1, T beta2, T rest2, T eps, T decay, int count) {
  int i = thread_number();
  if (i >= count) return;
  if (moving) step_size = T(moving[0]), root = T(moving[1]), shrink = T(moving[2]);
  T old = value[i] * shrink, g = grad[i] + decay * value[i];
  T first = m[i] = beta1 * m[i] + rest1 * g;
  T second = v[i] = beta2 * v[i] + rest2 * g * g;
  value[i] = old - step_size * first / (sqrt(second) * root + eps);
}

// Sums of squares, a part for each block.
KERNEL square_parts(const T* grad, double* parts, int count) {
  __shared__ double room[32];
  double sum = 0;
  for (int i = thread_number(); i < count; i += gridDim.x * blockDim.x)
    sum += double(grad[i]) * grad[i];
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// Scale grad to at most max_norm; norm_of: its norm before. NaN and infinity leave it as it is.
KERNEL clip(T* grad, const double* parts, T* norm_of, T max_norm, int part_count, int count) {
  __shared__ double room[32];
  double sum = 0;
  for (int part = threadIdx.x; part < part_count; part += blockDim.x) sum += parts[part];
  double norm = sqrt(block_sum(sum, room));
  int i = thread_number();
  if (i == 0) *norm_of = T(norm);
  if (i < count && norm > max_norm && isfinite(norm)) grad[i] *= T(max_norm / (norm + 1e-6));
}
