// CUDA C on the host: each thread of a block is a fiber, blocks run one after the other.
//
// A fiber runs until it ends or waits. At __syncthreads it waits for its block, at a warp shuffle for
// its warp. What waits for somebody who will never come (an exited thread, a warp that diverged) ends
// the launch with a message instead of hanging, which is what a GPU may do.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static __attribute__((section(SHARED_SECTION)))
using std::exp, std::fabs, std::isfinite, std::isnan, std::log, std::sqrt, std::tanh;  // of float, too
using std::max, std::min;

static dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

namespace host {

enum State { ready, at_barrier, at_shuffle, ended };

// A stack and where it stopped; threads that end give it to the next one.
struct Stack {
  static constexpr size_t SIZE = 1 << 15;
  static inline int made = 0;
  std::vector<char> room = std::vector<char>(SIZE);
  size_t start = SIZE - 64 - made++ % 64 * 128;  // not all in the same line of the cache
  void* top = nullptr;
};

struct Thread {
  dim3 index;
  State state = ready;
  Stack* stack = nullptr;
  double shuffled = 0;  // what it offers to its warp
};

static std::vector<Thread> threads;
static std::vector<Stack*> free_stacks;
static int current;
static void* scheduler_top;
static void (*body)(void*);
static void* body_arguments;
static std::string problem;

extern "C" void switch_stacks(void** save, void* restore);
#ifdef __x86_64__
asm(R"(
.text
.local switch_stacks
switch_stacks:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
#else
#error "the fibers are written for x86-64"
#endif

static void wait(State why) {
  Thread& thread = threads[current];
  thread.state = why;
  switch_stacks(&thread.stack->top, scheduler_top);
}

static void fiber() {
  body(body_arguments);
  wait(ended);
}

static void resume(int i) {
  Thread& thread = threads[i];
  if (!thread.stack) {
    if (free_stacks.empty()) free_stacks.push_back(new Stack);
    thread.stack = free_stacks.back();
    free_stacks.pop_back();
    void** top = reinterpret_cast<void**>(thread.stack->room.data() + thread.stack->start);
    top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15));
    *--top = nullptr;  // where fiber() would return to
    *--top = reinterpret_cast<void*>(fiber);
    thread.stack->top = top - 6;  // six registers to pop
  }
  current = i;
  threadIdx = thread.index;
  thread.state = ready;
  switch_stacks(&scheduler_top, thread.stack->top);
  if (thread.state == ended) {
    free_stacks.push_back(thread.stack);
    thread.stack = nullptr;
  }
}

// Let the lanes of a warp go on that wait for each other; false if one of them never comes.
static bool release_warp(int first, int last) {
  int shuffling = 0;
  for (int i = first; i < last; i++) shuffling += threads[i].state == at_shuffle;
  if (shuffling == 0) return false;
  if (shuffling < last - first) {
    problem = std::to_string(last - first - shuffling) + " lanes of warp " +
              std::to_string(first / 32) + " are not at the shuffle where " +
              std::to_string(shuffling) + " wait";
    return false;
  }
  for (int i = first; i < last; i++) threads[i].state = ready;
  return true;
}

static void run_block(bool backwards) {
  int count = threads.size();
  for (int i = 0; i < count; i++) {
    unsigned u = i;
    threads[i].index = {u % blockDim.x, u / blockDim.x % blockDim.y, u / blockDim.x / blockDim.y};
    threads[i].state = ready;
  }
  for (;;) {
    for (int first = 0; first < count; first += 32) {
      int last = first + 32 < count ? first + 32 : count;
      do {
        for (int k = first; k < last; k++) {
          int i = backwards ? last - 1 - (k - first) : k;
          if (threads[i].state == ready) resume(i);
        }
      } while (release_warp(first, last));
      if (!problem.empty()) return;
    }
    int waiting = 0;
    for (Thread& thread : threads) waiting += thread.state == at_barrier;
    if (waiting == 0) return;
    if (waiting < count) {
      problem = std::to_string(count - waiting) + " threads have ended, " +
                std::to_string(waiting) + " wait for them at __syncthreads";
      return;
    }
    for (Thread& thread : threads) thread.state = ready;
  }
}

template <class... A>
struct Call {
  void (*kernel)(A...);
  void** arguments;
  template <size_t... I>
  void run(std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_const_t<A>*>(arguments[I])...);
  }
  static void start(void* self) {
    static_cast<Call*>(self)->run(std::index_sequence_for<A...>());
  }
};

// Run a kernel; the message of what went wrong, or "".
template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block,
                   void** arguments, int backwards, char* shared, size_t shared_bytes) {
  Call<A...> call{kernel, arguments};
  body = Call<A...>::start;
  body_arguments = &call;
  problem.clear();
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  threads.assign(size_t(block[0]) * block[1] * block[2], Thread{});
  for (unsigned z = 0; z < grid[2]; z++)
    for (unsigned y = 0; y < grid[1]; y++)
      for (unsigned x = 0; x < grid[0]; x++) {
        blockIdx = {x, y, z};
        if (shared_bytes) memset(shared, 0xff, shared_bytes);  // a new block finds no zeros: NaN
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

template <class V>
V shuffle(V value, int source) {
  static_assert(sizeof(V) <= sizeof(double));
  Thread& thread = threads[current];
  memcpy(&thread.shuffled, &value, sizeof(V));
  wait(at_shuffle);
  V result;
  memcpy(&result, &threads[(current & ~31) + source].shuffled, sizeof(V));
  wait(at_shuffle);  // nobody offers something new before all have read
  return result;
}

}  // namespace host

inline void __syncthreads() { host::wait(host::at_barrier); }
template <class V>
V __shfl_xor_sync(unsigned, V value, int mask) {
  return host::shuffle(value, (host::current & 31) ^ mask);
}
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
