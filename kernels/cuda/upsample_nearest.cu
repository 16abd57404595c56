// Nearest-neighbour upsampling and its gradient; see scratchvae/ops/upsample_nearest.py.
#include "common.cuh"
#include "windows.cuh"

// A thread for each y.
KERNEL upsample_nearest_forward(const T* x, T* y, int count, int H, int W, int SH, int SW) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, H * SH, W * SW);
  y[i] = x[(at.plane * H + at.row / SH) * W + at.column / SW];
}

// A thread for each dx: it sums its block of SH x SW.
KERNEL upsample_nearest_backward(const T* dy, T* dx, int count, int H, int W, int SH, int SW) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, H, W);
  const T* block = dy + ((at.plane * H + at.row) * SH * W + at.column) * SW;
  T sum = 0;
  for (int u = 0; u < SH; u++) {
    for (int v = 0; v < SW; v++) sum += block[u * W * SW + v];
  }
  dx[i] = sum;
}
