// Max pooling and its gradient; see scratchvae/ops/max_pool2d.py.
#include "common.cuh"
#include "windows.cuh"

// A thread per y. winner: the index h * W + w, within its plane, of the window's largest x.
KERNEL max_pool2d_forward(const T* x, int H, int W, int OH, int OW, int KH, int KW, int SH, int SW,
                          int PH, int PW, int* winner, T* y, int count) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, OH, OW);
  Range rows = pixels_of_window(at.row, H, KH, SH, PH);
  Range columns = pixels_of_window(at.column, W, KW, SW, PW);
  const T* plane = x + at.plane * H * W;
  int best = rows.first * W + columns.first;  // the winner if all are -infinity
  T largest = plane[best];
  for (int h = rows.first; h < rows.end; h++) {
    for (int w = columns.first; w < columns.end; w++) {
      T value = plane[h * W + w];
      if (value > largest || (isnan(value) && !isnan(largest))) {
        largest = value;
        best = h * W + w;
      }
    }
  }
  y[i] = largest;
  winner[i] = best;
}

// A thread per dx sums the dy of the windows whose winner is its pixel: no two threads write to one location.
KERNEL max_pool2d_backward(const T* dy, const int* winner, int H, int W, int OH, int OW, int KH, int KW,
                           int SH, int SW, int PH, int PW, T* dx, int count) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, H, W);
  Range rows = windows_of_pixel(at.row, OH, KH, SH, PH);
  Range columns = windows_of_pixel(at.column, OW, KW, SW, PW);
  int pixel = at.row * W + at.column;
  T sum = 0;
  for (int row = rows.first; row < rows.end; row++) {
    for (int column = columns.first; column < columns.end; column++) {
      int window = (at.plane * OH + row) * OW + column;
      if (winner[window] == pixel) sum += dy[window];
    }
  }
  dx[i] = sum;
}
