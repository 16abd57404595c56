// The threads of a block are fibers: one runs until it ends or waits, then the next.
//
// At __syncthreads a fiber waits for its block, at a warp shuffle for its warp. A fiber that waits for
// a thread that never arrives (it has exited, or its warp diverged) ends the launch with a message; a
// GPU may hang. "@L12" in a message is a line of the translation unit.
#pragma once
#include <string>
#include <vector>

#include "watch.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {

enum State { ready, at_barrier, at_warp, ended };

// A stack and its position; a thread that ends passes its stack on to the next one.
struct Stack {
  static constexpr size_t SIZE = 1 << 15;
  static inline int made = 0;
  std::vector<char> room = std::vector<char>(SIZE);
  size_t start = SIZE - 64 - made++ % 64 * 128;  // different cache lines
  void* top = nullptr;
};

struct Thread {
  dim3 index;
  State state = ready;
  int line = 0;               // where it waits
  bool orders_memory = false;  // it waits at __syncwarp, not at a shuffle
  unsigned warp_barrier = 0;  // how many __syncwarp it has passed
  Stack* stack = nullptr;
  double shuffled = 0;  // the value that it gives to its warp
};

static std::vector<Thread> threads;
static std::vector<Stack*> free_stacks;
static int current;
static void* scheduler_top;
static void (*body)(void*);
static void* body_arguments;
static std::string problem;
static std::string passed_lines;  // of the __syncthreads that blocks have passed, "12 40 "

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

UNWATCHED static void wait(State why, int line = 0) {
  watch.on = false;
  Thread& thread = threads[current];
  thread.state = why;
  thread.line = line;
  switch_stacks(&thread.stack->top, scheduler_top);
}

// End the launch from within a kernel.
UNWATCHED static void stop(const char* what) {
  watch.on = false;
  problem = what;
  wait(ended);
}

UNWATCHED static void fiber() {
  body(body_arguments);
  wait(ended);
}

static void start_fiber(Thread& thread) {
  if (free_stacks.empty()) free_stacks.push_back(new Stack);
  thread.stack = free_stacks.back();
  free_stacks.pop_back();
#ifdef __SANITIZE_ADDRESS__  // the frames of an earlier, stopped launch are gone
  __asan_unpoison_memory_region(thread.stack->room.data(), Stack::SIZE);
#endif
  void** top = reinterpret_cast<void**>(thread.stack->room.data() + thread.stack->start);
  top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15));
  *--top = nullptr;  // where fiber() would return to
  *--top = reinterpret_cast<void*>(fiber);
  thread.stack->top = top - 6;  // six registers to pop
}

static void release_stack(Thread& thread) {
  if (thread.stack) free_stacks.push_back(thread.stack);
  thread.stack = nullptr;
}

UNWATCHED static void resume(int i) {
  Thread& thread = threads[i];
  if (!thread.stack) start_fiber(thread);
  current = i;
  threadIdx = thread.index;
  thread.state = ready;
  watch.thread = i;
  watch.warp_barrier = thread.warp_barrier;
  watch.stack = thread.stack->room.data();
  watch.stack_end = watch.stack + Stack::SIZE;
  watch.on = true;
  switch_stacks(&scheduler_top, thread.stack->top);
  if (thread.state == ended) release_stack(thread);
}

// The number of these threads that wait in this way; an error if they wait in different lines.
static int count_waiting(int first, int last, State state) {
  int count = 0, line = 0;
  for (int i = first; i < last; i++) {
    if (threads[i].state != state) continue;
    if (count++ && threads[i].line != line)
      problem = "thread " + std::to_string(i) + " waits at @L" + std::to_string(threads[i].line) +
                ", others at @L" + std::to_string(line);
    line = threads[i].line;
  }
  return count;
}

// Resume the lanes of a warp that wait for each other; false if one of them never arrives.
static bool release_warp(int first, int last) {
  int waiting = count_waiting(first, last, at_warp);
  if (waiting == 0 || !problem.empty()) return false;
  if (waiting < last - first) {
    int line = 0;
    for (int i = first; i < last; i++)
      if (threads[i].state == at_warp) line = threads[i].line;
    problem = std::to_string(last - first - waiting) + " lanes of warp " +
              std::to_string(first / 32) + " are not there where " + std::to_string(waiting) +
              " wait for them: @L" + std::to_string(line);
    return false;
  }
  for (int i = first; i < last; i++) {
    threads[i].state = ready;
    threads[i].warp_barrier += threads[i].orders_memory;
  }
  return true;
}

// Resume all threads that wait at __syncthreads; false if none waits, or one never arrives.
static bool release_block() {
  int count = threads.size(), waiting = count_waiting(0, count, at_barrier), line = 0;
  if (waiting == 0 || !problem.empty()) return false;
  for (Thread& thread : threads)
    if (thread.state == at_barrier) line = thread.line;
  if (waiting < count) {
    problem = std::to_string(count - waiting) + " threads have ended, " + std::to_string(waiting) +
              " wait for them at @L" + std::to_string(line);
    return false;
  }
  std::string number = std::to_string(line) + " ";
  if ((" " + passed_lines).find(" " + number) == std::string::npos) passed_lines += number;
  for (Thread& thread : threads) thread.state = ready;
  watch.barrier++;
  return true;
}

// A block is a whole number of warps: build.py checks it.
static void run_block(bool backwards) {
  int count = threads.size();
  for (int i = 0; i < count; i++) {
    unsigned u = i;
    threads[i] = Thread{
        {u % blockDim.x, u / blockDim.x % blockDim.y, u / blockDim.x / blockDim.y}};
  }
  watch.barrier = 0;
  do {
    for (int warp = 0; warp < count / 32; warp++) {
      int first = 32 * (backwards ? count / 32 - 1 - warp : warp), last = first + 32;
      do {
        for (int k = first; k < last; k++) {
          int i = backwards ? last - 1 - (k - first) : k;
          if (threads[i].state == ready) resume(i);
          if (!problem.empty()) return;
        }
      } while (release_warp(first, last));
      if (!problem.empty()) return;
    }
  } while (release_block());
}

}  // namespace host
