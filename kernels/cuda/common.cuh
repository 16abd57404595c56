// T is float or double, by -DREAL=. (-DT= would rename the T of templates in nvcc's headers.)
using T = REAL;

#define KERNEL extern "C" __global__ void

// The number of this thread among all threads of all blocks.
__device__ inline int thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }

// See scratchvae/ops/leaky_relu.py; with a slope of 1 it returns x.
__device__ inline T leaky_relu(T x, T slope) { return x > 0 ? x : slope * x; }

// The sum of a value over the block, in every thread, in a fixed order: a warp adds by exchanging registers.
// `warp_sums` holds one sum per warp; a second call in the same kernel needs another array.
__device__ inline double block_sum(double value, double (&warp_sums)[32]) {
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; warp < blockDim.x / 32; warp++) sum += warp_sums[warp];
  return sum;
}
