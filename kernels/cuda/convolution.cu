// conv2d, conv_transpose2d and their gradients: three products, all of which read images (tiles.cuh).
//
//     gather     y[n,o,i,j]   = sum over c,u,v of  w[o,c,u,v] x[n, c, i*SH + u - PH, j*SW + v - PW]
//                conv2d forward; dx of conv_transpose2d
//     paint      y[n,o,h,k]   = sum over c,u,v of  w[c,o,u,v] x[n, c, (h + PH - u) / SH, ...], where
//                the divisions leave no remainder
//                conv_transpose2d forward; dx of conv2d
//     weights    dw[r,q,u,v]  = sum over n,i,j of  left[n,r,i,j] right[n, q, i*SH + u - PH, ...]
//
// gather and weights read pixels at distance u, v from a window's corner. So does paint, for one phase at a
// time: pixels (h, k) with equal remainders of h + PH and k + PW have the same taps u = u0, u0 + SH, ...;
// the next tap reads the image row above.
#include "common.cuh"
#include "tiles.cuh"

struct Sizes {
  int N, C, H, W;        // of the images that are read
  int O, OH, OW;         // of the result; for weights: of left
  int KH, KW, SH, SW, PH, PW;
};
#define SIZES \
  int N, int C, int H, int W, int O, int OH, int OW, int KH, int KW, int SH, int SW, int PH, int PW
#define THE_SIZES Sizes{N, C, H, W, O, OH, OW, KH, KW, SH, SW, PH, PW}

// w (O, C, KH, KW), b (O,) or null; blockIdx.y: rows of w
template <class Tile>
__device__ void gather(Tile& tile, const T* x, const T* w, const T* b, T* y, Sizes s) {
  const int P = s.OH * s.OW, K = s.C * s.KH * s.KW, columns = s.N * P;
  const int row = blockIdx.y * Tile::ROWS, column = blockIdx.x * Tile::COLUMNS;

  int mine = column + Tile::loaded_column(), p = mine % P;
  Column from = {mine / P * s.C * s.H * s.W, p / s.OW * s.SH - s.PH, p % s.OW * s.SW - s.PW};
  if (mine >= columns) from.row = FAR_OUTSIDE;

  auto tap = [&](int k) {
    int c = k / (s.KH * s.KW), uv = k % (s.KH * s.KW);
    return Tap{k, c * s.H * s.W, uv / s.KW, uv % s.KW};
  };
  T sums[SIDE][SIDE] = {};
  multiply(tile, w + row * K, s.O - row, K, x, s.H, s.W, from, 0, K, tap, sums);

  store<Tile>(sums, b, row, s.O, P, column, columns, [&](int g) {
    return y + g / P * s.O * P + g % P;
  });
}

// w (C, O, KH, KW), b (O,) or null; blockIdx.x: columns and phase, the phase varying fastest
template <class Tile>
__device__ void paint(Tile& tile, const T* x, const T* w, const T* b, T* y, Sizes s) {
  const int phases = s.SH * s.SW, phase = blockIdx.x % phases;
  const int h0 = phase / s.SW, k0 = phase % s.SW;                    // its first pixel
  const int u0 = (h0 + s.PH) % s.SH, v0 = (k0 + s.PW) % s.SW;        // its first tap
  const int h_count = h0 < s.OH ? (s.OH - h0 - 1) / s.SH + 1 : 0;    // its pixels
  const int k_count = k0 < s.OW ? (s.OW - k0 - 1) / s.SW + 1 : 0;
  const int u_count = u0 < s.KH ? (s.KH - u0 - 1) / s.SH + 1 : 0;    // its taps
  const int v_count = v0 < s.KW ? (s.KW - v0 - 1) / s.SW + 1 : 0;
  const int P = h_count * k_count, K = s.C * u_count * v_count, columns = s.N * P;
  const int row = blockIdx.y * Tile::ROWS, column = blockIdx.x / phases * Tile::COLUMNS;
  if (column >= columns) return;  // phases differ in size

  int mine = column + Tile::loaded_column(), p = mine % P;
  Column from = {mine / P * s.C * s.H * s.W, (h0 + s.PH) / s.SH + p / k_count,
                 (k0 + s.PW) / s.SW + p % k_count};
  if (mine >= columns) from.row = FAR_OUTSIDE;

  auto tap = [&](int k) {
    int c = k / (u_count * v_count), uv = k % (u_count * v_count);
    int a = uv / v_count, e = uv % v_count;
    int weight = (c * s.O * s.KH + u0 + s.SH * a) * s.KW + v0 + s.SW * e;
    return Tap{weight, c * s.H * s.W, -a, -e};
  };
  T sums[SIDE][SIDE] = {};
  const int area = s.KH * s.KW;
  multiply(tile, w + row * area, s.O - row, area, x, s.H, s.W, from, 0, K, tap, sums);

  store<Tile>(sums, b, row, s.O, s.OH * s.OW, column, columns, [&](int g) {
    int h = h0 + g % P / k_count * s.SH, k = k0 + g % P % k_count * s.SW;
    return y + (g / P * s.O * s.OH + h) * s.OW + k;
  });
}

// left (N, O, OH, OW), right (N, C, H, W); blockIdx.z: the part of the long sum, for add_parts.
template <class Tile>
__device__ void weights(Tile& tile, const T* left, const T* right, T* parts, int part_size,
                        Sizes s) {
  const int P = s.OH * s.OW, area = s.KH * s.KW, columns = s.C * area;
  const int row = blockIdx.y * Tile::ROWS, column = blockIdx.x * Tile::COLUMNS;
  const int first = blockIdx.z * part_size, K = s.N * P;
  const int last = K - first < part_size ? K : first + part_size;

  int mine = column + Tile::loaded_column(), uv = mine % area;
  Column from = {mine / area * s.H * s.W, uv / s.KW - s.PH, uv % s.KW - s.PW};
  if (mine >= columns) from.row = FAR_OUTSIDE;

  auto tap = [&](int k) {
    int n = k / P, p = k % P;
    return Tap{n * s.O * P + p, n * s.C * s.H * s.W, p / s.OW * s.SH, p % s.OW * s.SW};
  };
  T sums[SIDE][SIDE] = {};
  multiply(tile, left + row * P, s.O - row, P, right, s.H, s.W, from, first, last, tap, sums);

  parts += blockIdx.z * s.O * columns;
  store<Tile>(sums, nullptr, row, s.O, columns, column, columns, [&](int g) { return parts + g; });
}

KERNEL add_parts(const T* parts, int part_count, T* dw, int count) {
  int i = thread_number();
  if (i >= count) return;
  double sum = 0;
  for (int part = 0; part < part_count; part++) sum += parts[part * count + i];
  dw[i] = T(sum);
}

#define TILE(rows) __shared__ Tile<rows> tile
#define IMAGES const T *x, const T *w, const T *b, T *y, SIZES
#define PARTS const T *left, const T *right, T *parts, int part_size, SIZES

// Few rows need wide tiles: with 3 channels, 61 of a square tile's 64 rows would be unused.
KERNEL gather_16(IMAGES) { TILE(16); gather(tile, x, w, b, y, THE_SIZES); }
KERNEL gather_32(IMAGES) { TILE(32); gather(tile, x, w, b, y, THE_SIZES); }
KERNEL gather_64(IMAGES) { TILE(64); gather(tile, x, w, b, y, THE_SIZES); }
KERNEL paint_16(IMAGES) { TILE(16); paint(tile, x, w, b, y, THE_SIZES); }
KERNEL paint_32(IMAGES) { TILE(32); paint(tile, x, w, b, y, THE_SIZES); }
KERNEL paint_64(IMAGES) { TILE(64); paint(tile, x, w, b, y, THE_SIZES); }
KERNEL weights_16(PARTS) { TILE(16); weights(tile, left, right, parts, part_size, THE_SIZES); }
KERNEL weights_32(PARTS) { TILE(32); weights(tile, left, right, parts, part_size, THE_SIZES); }
KERNEL weights_64(PARTS) { TILE(64); weights(tile, left, right, parts, part_size, THE_SIZES); }
