// Philox4x32-10 and normal numbers; see scratchvae/gpu/philox.py.
#include "common.cuh"

struct Words {
  unsigned at[4];
};

// The words of this index. Seed and step are in GPU memory, because they change between replays of a graph.
__device__ inline Words philox4x32(unsigned index, const long long* seed, const long long* step) {
  unsigned c0 = index, c1 = 0, c2 = unsigned(*step), c3 = unsigned(*step >> 32);
  unsigned k0 = unsigned(*seed), k1 = unsigned(*seed >> 32);
  for (int round = 0; round < 10; round++) {
    unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
    unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
    c0 = high1 ^ c1 ^ k0, c1 = low1, c2 = high0 ^ c3 ^ k1, c3 = low0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// The words themselves: (count, 4).
KERNEL fill_words(unsigned* words, const long long* seed, const long long* step, int count) {
  int i = thread_number();
  if (i >= count) return;
  Words w = philox4x32(i, seed, step);
  for (int j = 0; j < 4; j++) words[4 * i + j] = w.at[j];
}

__device__ inline void box_muller(double u, double v, T* first, T* second) {
  double radius = sqrt(-2 * log(u)), sine, cosine;
  sincospi(2 * v, &sine, &cosine);
  *first = T(radius * cosine), *second = T(radius * sine);
}

KERNEL fill_normal(T* out, const long long* seed, const long long* step, int count) {
  constexpr int NUMBERS = 16 / sizeof(T);  // from four words
  int i = thread_number(), first = NUMBERS * i;
  if (first >= count) return;
  Words w = philox4x32(i, seed, step);
  T normal[NUMBERS];
  if (NUMBERS == 4) {
    const double unit = 1.0 / 4294967296;  // 2^-32
    for (int j = 0; j < NUMBERS; j += 2)
      box_muller((w.at[j] + 1.0) * unit, w.at[j + 1] * unit, normal + j, normal + j + 1);
  } else {
    const double unit = 1.0 / 9007199254740992;  // 2^-53
    unsigned long long u = (unsigned long long)w.at[0] << 21 ^ w.at[1] >> 11;
    unsigned long long v = (unsigned long long)w.at[2] << 21 ^ w.at[3] >> 11;
    box_muller((u + 1.0) * unit, v * unit, normal, normal + 1);
  }
  for (int j = 0; j < NUMBERS && first + j < count; j++) out[first + j] = normal[j];
}
