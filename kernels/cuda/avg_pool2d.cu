// Average pooling and its gradient; see scratchvae/ops/avg_pool2d.py.
#include "common.cuh"
#include "windows.cuh"

// A thread for each y. What lies outside the image adds nothing, but counts in the divisor.
KERNEL avg_pool2d_forward(const T* x, T* y, int count, int H, int W, int OH, int OW, int KH, int KW,
                          int SH, int SW, int PH, int PW) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, OH, OW);
  Range rows = pixels_of_window(at.row, H, KH, SH, PH);
  Range columns = pixels_of_window(at.column, W, KW, SW, PW);
  T sum = 0;
  for (int h = rows.first; h < rows.end; h++) {
    const T* line = x + (at.plane * H + h) * W;
    T of_row = 0;  // sums of sums: fewer roundings in large windows
    for (int w = columns.first; w < columns.end; w++) of_row += line[w];
    sum += of_row;
  }
  y[i] = sum / (T(KH) * KW);
}

// A thread for each dx: it sums the dy of the windows that hold its pixel.
KERNEL avg_pool2d_backward(const T* dy, T* dx, int count, int H, int W, int OH, int OW, int KH,
                           int KW, int SH, int SW, int PH, int PW) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, H, W);
  Range rows = windows_of_pixel(at.row, OH, KH, SH, PH);
  Range columns = windows_of_pixel(at.column, OW, KW, SW, PW);
  T sum = 0;
  for (int row = rows.first; row < rows.end; row++) {
    const T* line = dy + (at.plane * OH + row) * OW;
    T of_row = 0;
    for (int column = columns.first; column < columns.end; column++) of_row += line[column];
    sum += of_row;
  }
  dx[i] = sum / (T(KH) * KW);
}
