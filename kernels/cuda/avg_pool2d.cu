// Average pooling and its gradient; see scratchvae/ops/avg_pool2d.py. With divisor 1, the backward kernel
// is nearest-neighbour upsampling, and the forward kernel its gradient: see ops/upsample_nearest.py.
#include "common.cuh"
#include "windows.cuh"

// A thread per y. Pixels outside the image add nothing, but count in the divisor.
KERNEL avg_pool2d_forward(const T* x, int H, int W, int OH, int OW, int KH, int KW, int SH, int SW,
                          int PH, int PW, T divisor, T* y, int count) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, OH, OW);
  Range rows = pixels_of_window(at.row, H, KH, SH, PH);
  Range columns = pixels_of_window(at.column, W, KW, SW, PW);
  y[i] = sum_of(x + at.plane * H * W, W, rows, columns) / divisor;
}

// A thread per dx: it sums the dy of the windows that hold the pixel.
KERNEL avg_pool2d_backward(const T* dy, int H, int W, int OH, int OW, int KH, int KW, int SH, int SW,
                           int PH, int PW, T divisor, T* dx, int count) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, H, W);
  Range rows = windows_of_pixel(at.row, OH, KH, SH, PH);
  Range columns = windows_of_pixel(at.column, OW, KW, SW, PW);
  dx[i] = sum_of(dy + at.plane * OH * OW, OW, rows, columns) / divisor;
}
