// A matrix product whose right factor is read directly from images and never stored as a matrix.
//
//     sums[row, column] = sum over k of  left[row, k] right[k, column]
//
// A block of 256 threads computes ROWS x COLUMNS sums, 4 x 4 in the registers of each thread. Each step has
// DEPTH terms k of both factors in shared memory (4 + 4 numbers read for 16 products), and loads the next
// terms into registers while it multiplies. For a convolution (convolution.cu) a Column is a start position
// in the images, and a Tap the distance of term k from it. Pixels outside the image are 0.

constexpr int DEPTH = 16, SIDE = 4, BLOCK = 256;
constexpr int FAR_OUTSIDE = -(1 << 30);  // a row outside every image

struct Tap {
  int weight, offset;  // into left, from its row's start; into the images
  int row, column;     // in the image
};

struct Column {
  int base;  // into the images
  int row, column;
};

template <int rows>
struct Tile {
  static constexpr int ROWS = rows, COLUMNS = BLOCK * SIDE * SIDE / rows;
  __align__(16) T left[DEPTH][ROWS + SIDE];  // SIDE more, so that a column is not in one memory bank
  __align__(16) T right[DEPTH][COLUMNS];
  Tap taps[DEPTH];

  // The column that this thread loads, and the first row and column of the thread's own sums.
  static __device__ int loaded_column() { return threadIdx.x % COLUMNS; }
  static __device__ int first_row() { return threadIdx.x / (COLUMNS / SIDE) * SIDE; }
  static __device__ int first_column() { return threadIdx.x % (COLUMNS / SIDE) * SIDE; }
};

// Add the terms first <= k < last to the sums of this thread. left: the tile's first row, of `rows` rows
// `row_stride` apart. images: H x W each. column: the one this thread loads. tap(k): the Tap of term k.
template <class Tile, class TapOf>
__device__ void multiply(Tile& tile, const T* left, int rows, int row_stride, const T* images, int H,
                         int W, Column column, int first, int last, TapOf tap,
                         T (&sums)[SIDE][SIDE]) {
  constexpr int LEFT = Tile::ROWS / 16, RIGHT = Tile::COLUMNS / 16;  // numbers a thread loads
  T next_left[LEFT], next_right[RIGHT];
  const int k = threadIdx.x % DEPTH, row = threadIdx.x / DEPTH;

  auto fetch = [&](int start) {
    for (int i = 0; i < LEFT; i++) {
      int r = row + 16 * i;
      next_left[i] = r < rows && start + k < last ? left[r * row_stride + tile.taps[k].weight] : T(0);
    }
    for (int i = 0; i < RIGHT; i++) {
      int d = threadIdx.x / Tile::COLUMNS + i * (BLOCK / Tile::COLUMNS);
      const Tap& t = tile.taps[d];
      int h = column.row + t.row, w = column.column + t.column;
      bool inside = 0 <= h && h < H && 0 <= w && w < W;
      next_right[i] = start + d < last && inside ? images[column.base + t.offset + h * W + w] : T(0);
    }
  };

  if (first >= last) return;  // the whole block returns, so no thread waits at a barrier
  if (threadIdx.x < DEPTH) tile.taps[k] = tap(first + k);
  __syncthreads();
  fetch(first);
  __syncthreads();  // all threads have read the taps, which may now change
  for (int start = first; start < last; start += DEPTH) {
    for (int i = 0; i < LEFT; i++) tile.left[k][row + 16 * i] = next_left[i];
    for (int i = 0; i < RIGHT; i++)
      tile.right[threadIdx.x / Tile::COLUMNS + i * (BLOCK / Tile::COLUMNS)]
                [Tile::loaded_column()] = next_right[i];
    if (threadIdx.x < DEPTH) tile.taps[k] = tap(start + DEPTH + k);
    __syncthreads();
    if (start + DEPTH < last) fetch(start + DEPTH);
    for (int d = 0; d < DEPTH; d++) {
      T a[SIDE], b[SIDE];
      for (int i = 0; i < SIDE; i++) a[i] = tile.left[d][Tile::first_row() + i];
      for (int j = 0; j < SIDE; j++) b[j] = tile.right[d][Tile::first_column() + j];
      for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) sums[i][j] += a[i] * b[j];
    }
    __syncthreads();
  }
}

// Write the sums of this thread, plus b[row] if there is a bias. row, column: the tile's first; `rows` and
// `columns` exist. to(g): pointer to the start of column g, whose rows are `row_stride` apart.
template <class Tile, class To>
__device__ void store(const T (&sums)[SIDE][SIDE], const T* b, int row, int rows, int row_stride,
                      int column, int columns, To to) {
  for (int j = 0; j < SIDE; j++) {
    int g = column + Tile::first_column() + j;
    if (g >= columns) break;
    T* start = to(g);
    for (int i = 0; i < SIDE; i++) {
      int r = row + Tile::first_row() + i;
      if (r < rows) start[r * row_stride] = b ? sums[i][j] + b[r] : sums[i][j];
    }
  }
}
