// Batch normalisation, optionally with leaky ReLU; see scratchvae/ops/batch_norm.py. x (N, C, P): the
// N * P values of a channel are cut into `count` parts, one per block (channel, part).
#include "common.cuh"

struct Share {  // which values this thread handles
  int channel, part, first, step, end;
  __device__ Share(int N, int P, int count)
      : channel(blockIdx.x / count), part(blockIdx.x % count),
        first(part * blockDim.x + threadIdx.x), step(count * blockDim.x), end(N * P) {}
};

// The index of value m of a channel.
__device__ inline int index_of(int m, int channel, int C, int P) {
  return (m / P * C + channel) * P + m % P;
}

// parts (C, count, 3) = n, mean, M2 (sum of squared deviations), in one pass. A thread sums deviations from
// its first value, so few digits cancel: if this value is an outlier, it makes the variance large as well.
// Groups are merged by M2 = sum of their M2 + sum of n (mean - common mean)^2 (Chan, Golub & LeVeque 1979).
KERNEL moments(const T* x, double* parts, int N, int C, int P, int count) {
  __shared__ double warp_sums[3][32];
  const Share share(N, P, count);
  double n = 0, shift = 0, sum = 0, squares = 0;
  for (int m = share.first; m < share.end; m += share.step) {
    double value = x[index_of(m, share.channel, C, P)];
    if (n == 0) shift = value;
    n += 1;
    sum += value - shift;
    squares += (value - shift) * (value - shift);
  }
  double mean = n > 0 ? shift + sum / n : 0, M2 = n > 0 ? squares - sum * sum / n : 0;
  double all = block_sum(n, warp_sums[0]);
  double common = block_sum(n * mean, warp_sums[1]) / (all > 0 ? all : 1);
  M2 = block_sum(M2 + n * (mean - common) * (mean - common), warp_sums[2]);
  if (threadIdx.x > 0) return;
  parts += 3 * blockIdx.x;
  parts[0] = all, parts[1] = common, parts[2] = M2;
}

// y, and for each channel mean, inv_std and new running statistics. In evaluation parts is null.
KERNEL normalise(const T* x, const T* running_mean, const T* running_var, const T* w, const T* b,
                 const double* parts, T momentum, T eps, T slope, T* y, T* mean_of, T* inv_std_of,
                 T* new_mean, T* new_var, int N, int C, int P, int count) {
  const Share share(N, P, count);
  const int c = share.channel;
  double mean = running_mean[c], var = running_var[c], n = 0, M2 = 0;
  if (parts) {
    parts += 3 * c * count;
    mean = 0;
    for (int k = 0; k < count; k++) n += parts[3 * k], mean += parts[3 * k] * parts[3 * k + 1];
    mean /= n;
    for (int k = 0; k < count; k++) {
      double off = parts[3 * k + 1] - mean;
      M2 += parts[3 * k + 2] + parts[3 * k] * off * off;
    }
    var = M2 / n;
  }
  const T centre = T(mean), inv_std = T(1 / sqrt(var + double(eps)));
  if (share.part == 0 && threadIdx.x == 0) {
    mean_of[c] = centre, inv_std_of[c] = inv_std;
    if (parts) {
      new_mean[c] = (1 - momentum) * running_mean[c] + momentum * centre;
      new_var[c] = (1 - momentum) * running_var[c] + momentum * T(M2 / (n - 1));  // unbiased
    }
  }
  for (int m = share.first; m < share.end; m += share.step) {
    int i = index_of(m, c, C, P);
    y[i] = leaky_relu(w[c] * ((x[i] - centre) * inv_std) + b[c], slope);
  }
}

// The gradient before the leaky ReLU. With a slope of 1 it is dy.
__device__ inline T before_activation(T dy, T x_hat, T w, T b, T slope) {
  return w * x_hat + b > 0 ? dy : slope * dy;
}

// The sums of dh and of dh x_hat over each part: parts (C, count, 2).
KERNEL gradient_parts(const T* dy, const T* x, const T* mean, const T* inv_std, const T* w,
                      const T* b, double* parts, T slope, int N, int C, int P, int count) {
  __shared__ double warp_sums[2][32];
  const Share share(N, P, count);
  const int c = share.channel;
  double sum = 0, products = 0;
  for (int m = share.first; m < share.end; m += share.step) {
    int i = index_of(m, c, C, P);
    T x_hat = (x[i] - mean[c]) * inv_std[c];
    T dh = before_activation(dy[i], x_hat, w[c], b[c], slope);
    sum += dh;
    products += dh * x_hat;
  }
  sum = block_sum(sum, warp_sums[0]);
  products = block_sum(products, warp_sums[1]);
  if (threadIdx.x == 0) parts[2 * blockIdx.x] = sum, parts[2 * blockIdx.x + 1] = products;
}

KERNEL gradient(const T* dy, const T* x, const T* mean, const T* inv_std, const T* w, const T* b,
                const double* parts, T slope, T* dx, T* dw, T* db, int training, int N, int C, int P,
                int count) {
  const Share share(N, P, count);
  const int c = share.channel;
  double sum = 0, products = 0;
  parts += 2 * c * count;
  for (int k = 0; k < count; k++) sum += parts[2 * k], products += parts[2 * k + 1];
  if (share.part == 0 && threadIdx.x == 0) db[c] = T(sum), dw[c] = T(products);
  const T level = T(sum / share.end), slant = T(products / share.end);  // averages of the formula
  for (int m = share.first; m < share.end; m += share.step) {
    int i = index_of(m, c, C, P);
    T x_hat = (x[i] - mean[c]) * inv_std[c];
    T dh = before_activation(dy[i], x_hat, w[c], b[c], slope);
    if (training) dh -= level + x_hat * slant;  // in evaluation not even with zeros: 0 x infinity is NaN
    dx[i] = w[c] * inv_std[c] * dh;
  }
}
