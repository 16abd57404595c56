// What the kernels share. T is float or double, given when a file is compiled: -DT=float.

#define KERNEL extern "C" __global__ void

// The number of this thread among all threads of all blocks.
__device__ inline int thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }
