// CUDA C on the host: each thread of a block is a fiber (fibers.h), blocks run one after the other.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "fibers.h"

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static __attribute__((section(SHARED_SECTION)))
using std::exp, std::fabs, std::isfinite, std::isnan, std::log, std::sqrt, std::tanh;  // also of float
using std::max, std::min;

constexpr int warpSize = 32;

namespace host {

template <class... A>
struct Call {
  void (*kernel)(A...);
  void** arguments;
  template <size_t... I>
  UNWATCHED void run(std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<A>*>(arguments[I])...);
  }
  static void start(void* self) {
    static_cast<Call*>(self)->run(std::index_sequence_for<A...>());
  }
};

// Run a kernel; returns the error message, or "".
template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block,
                   void** arguments, int backwards, char* shared, size_t shared_bytes) {
  Call<A...> call{kernel, arguments};
  body = Call<A...>::start;
  body_arguments = &call;
  problem.clear();
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  for (Thread& thread : threads) release_stack(thread);  // the last launch may have been stopped
  threads.assign(size_t(block[0]) * block[1] * block[2], Thread{});
  watch.stop = stop;
  watch.shared = shared, watch.shared_end = shared + shared_bytes;
  watch.first_block = watch.block + 1;
  for (unsigned z = 0; z < grid[2]; z++)
    for (unsigned y = 0; y < grid[1]; y++)
      for (unsigned x = 0; x < grid[0]; x++) {
        blockIdx = {x, y, z};
        if (shared_bytes) memset(shared, 0xff, shared_bytes);  // NaN: a new block must not find zeros
        watch.block++;
        run_block(backwards);
        if (!problem.empty()) return problem.c_str();
      }
  return "";
}

// One letter per parameter, P before what it points to: f d i q ...
template <class A>
std::string letter() {
  using Plain = std::remove_cv_t<std::remove_pointer_t<A>>;
  std::string name = std::is_same_v<Plain, float>       ? "f"
                     : std::is_same_v<Plain, double>    ? "d"
                     : std::is_same_v<Plain, int>       ? "i"
                     : std::is_same_v<Plain, unsigned>  ? "u"
                     : std::is_same_v<Plain, long long> ? "q"
                     : std::is_same_v<Plain, bool>      ? "b"
                     : std::is_same_v<Plain, unsigned long long> ? "Q"
                     : std::is_same_v<Plain, unsigned char>      ? "B"
                                                                 : "?";
  return (std::is_pointer_v<A> ? "P" : "") + name;
}

template <class... A>
const char* parameters(void (*)(A...)) {
  static std::string letters;
  letters = ((letter<A>() + " ") + ... + "");
  return letters.c_str();
}

UNWATCHED static void wait_for_warp(int line, unsigned mask, bool orders_memory) {
  watch.on = false;
  if (mask != 0xffffffffu)
    stop(("not all 32 lanes are in the mask of @L" + std::to_string(line)).c_str());
  threads[current].orders_memory = orders_memory;
  wait(at_warp, line);
}

template <class V>
UNWATCHED V shuffle(int line, unsigned mask, V value, int distance) {
  static_assert(sizeof(V) <= sizeof(double));
  watch.on = false;
  V result;
  memcpy(&threads[current].shuffled, &value, sizeof(V));
  wait_for_warp(line, mask, false);
  watch.on = false;
  memcpy(&result, &threads[current ^ distance].shuffled, sizeof(V));
  wait_for_warp(line, mask, false);  // no lane writes a new value before all have read
  return result;
}

}  // namespace host

#define __syncthreads() host::wait(host::at_barrier, __LINE__)
#define __syncwarp() host::wait_for_warp(__LINE__, 0xffffffffu, true)
#define __shfl_xor_sync(...) host::shuffle(__LINE__, __VA_ARGS__)
inline unsigned __umulhi(unsigned a, unsigned b) { return uint64_t(a) * b >> 32; }
inline void sincospi(double x, double* s, double* c) {  // exact reduction, as on the device
  double turns = std::nearbyint(2 * x), rest = M_PI * (x - turns / 2);
  double sine = std::sin(rest), cosine = std::cos(rest);
  switch (int64_t(turns) & 3) {
    case 0: *s = sine, *c = cosine; break;
    case 1: *s = cosine, *c = -sine; break;
    case 2: *s = -sine, *c = -cosine; break;
    default: *s = -cosine, *c = sine;
  }
}

// Makes a kernel callable from Python.
#define EXPORT(file, kernel)                                                                       \
  extern "C" __attribute__((weak)) char __start_shared_##file[], __stop_shared_##file[];           \
  extern "C" const char* launch_##kernel(const unsigned* grid, const unsigned* block, void** args, \
                                         int backwards) {                                          \
    return host::launch(kernel, grid, block, args, backwards, __start_shared_##file,               \
                        __stop_shared_##file - __start_shared_##file);                             \
  }                                                                                                \
  extern "C" const char* parameters_##kernel() { return host::parameters(kernel); }

// The lines of the __syncthreads that have been passed since the library was loaded.
extern "C" const char* passed_barriers() { return host::passed_lines.c_str(); }
