// Adaptive average pooling and its gradient; see scratchvae/ops/adaptive_avg_pool2d.py.
#include "common.cuh"
#include "windows.cuh"

// The pixels of window i (of `count`, on an axis of `size` pixels), which touch i * size / count to
// (i + 1) * size / count. With size and count exchanged: the windows of pixel i. Products may need 64 bits.
__device__ inline Range overlap(int i, int size, int count) {
  long long start = (long long)i * size, end = start + size;
  return {int(start / count), int((end + count - 1) / count)};
}

// A thread per y. For backward, the threads of the first plane also store 1 / (rows in window) for each
// row of y and 1 / (columns in window) for each column.
KERNEL adaptive_avg_pool2d_forward(const T* x, T* row_share, T* column_share, int H, int W, int OH,
                                   int OW, T* y, int count) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, OH, OW);
  Range rows = overlap(at.row, H, OH), columns = overlap(at.column, W, OW);
  T share_of_row = T(1) / (rows.end - rows.first);
  T share_of_column = T(1) / (columns.end - columns.first);
  if (at.plane == 0 && at.column == 0) row_share[at.row] = share_of_row;
  if (at.plane == 0 && at.row == 0) column_share[at.column] = share_of_column;
  y[i] = sum_of(x + at.plane * H * W, W, rows, columns) * share_of_row * share_of_column;
}

// A thread per dx: every window that holds the pixel contributes a share of the window's dy.
KERNEL adaptive_avg_pool2d_backward(const T* dy, const T* row_share, const T* column_share, int H,
                                    int W, int OH, int OW, T* dx, int count) {
  int i = thread_number();
  if (i >= count) return;
  Location at = location_of(i, H, W);
  Range rows = overlap(at.row, OH, H), columns = overlap(at.column, OW, W);
  T sum = 0;
  for (int row = rows.first; row < rows.end; row++) {
    const T* line = dy + (at.plane * OH + row) * OW;
    T of_row = 0;
    for (int column = columns.first; column < columns.end; column++) {
      of_row += line[column] * column_share[column];
    }
    sum += of_row * row_share[row];
  }
  dx[i] = sum;
}
