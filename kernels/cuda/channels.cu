// Sums of x (N, C, P) for each channel, over batch and pixels: in float64, in a fixed order.
#include "common.cuh"

// parts (C, count): block (channel, part) adds up its share of the N * P values.
KERNEL channel_parts(const T* x, double* parts, int N, int C, int P, int count) {
  __shared__ double warp_sums[32];
  const int c = blockIdx.x / count, part = blockIdx.x % count;
  double sum = 0;
  for (int m = part * blockDim.x + threadIdx.x; m < N * P; m += count * blockDim.x)
    sum += x[(m / P * C + c) * P + m % P];
  sum = block_sum(sum, warp_sums);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

KERNEL add_channel_parts(T* sums, const double* parts, int count, int C) {
  int c = thread_number();
  if (c >= C) return;
  double sum = 0;
  for (int part = 0; part < count; part++) sum += parts[c * count + part];
  sums[c] = T(sum);
}

// x (N, C): a block has 32 neighbouring columns, one per lane of a warp, and its 32 warps share the rows.
KERNEL column_sums(const T* x, T* sums, int N, int C) {
  __shared__ double partial[32][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
  double sum = 0;
  if (c < C)
    for (int n = warp; n < N; n += 32) sum += x[n * C + c];
  partial[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || c >= C) return;
  for (int other = 1; other < 32; other++) sum += partial[other][lane];
  sums[c] = T(sum);
}
