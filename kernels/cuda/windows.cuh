// Windows over images, for pooling and upsampling.

// The location of an element of images (N, C, H, W). A plane is one channel of one image.
struct Location {
  int plane, row, column;
};

__device__ inline Location location_of(int element, int H, int W) {
  int line = element / W;
  return {line / H, line % H, element % W};
}

// The half-open range first <= i < end.
struct Range {
  int first, end;
};

// The sum over rows and columns of a plane of width W: row sums first, which rounds less in large windows.
__device__ inline T sum_of(const T* plane, int W, Range rows, Range columns) {
  T sum = 0;
  for (int h = rows.first; h < rows.end; h++) {
    T of_row = 0;
    for (int w = columns.first; w < columns.end; w++) of_row += plane[h * W + w];
    sum += of_row;
  }
  return sum;
}

// The pixels of window i that lie inside the image; the window starts at i * stride - padding.
__device__ inline Range pixels_of_window(int i, int size, int kernel, int stride, int padding) {
  int start = i * stride - padding;
  return {max(start, 0), min(start + kernel, size)};
}

// The windows i < count that hold a pixel: i * stride <= pixel + padding < i * stride + kernel.
__device__ inline Range windows_of_pixel(int pixel, int count, int kernel, int stride,
                                         int padding) {
  int end = pixel + padding;
  int first = end < kernel ? 0 : (end - kernel) / stride + 1;
  return {first, min(end / stride + 1, count)};
}
