// The state that the scheduler shares with races.cpp, which sees each memory access of a kernel.
#pragma once
#include <cstddef>

struct Watch {
  bool on = false;            // a thread of a kernel runs, not the scheduler
  unsigned block = 0;         // counted through all launches
  unsigned first_block = 0;   // of this launch
  unsigned thread = 0;        // in its block
  unsigned barrier = 0;       // how many __syncthreads the block has passed
  unsigned warp_barrier = 0;  // how many __syncwarp the warp has passed in this block
  const char *stack = nullptr, *stack_end = nullptr;
  const char *shared = nullptr, *shared_end = nullptr;
  void (*stop)(const char* problem) = nullptr;  // ends the launch
};

#ifdef RACES
extern Watch watch __attribute__((visibility("hidden")));
#else
static Watch watch;
#endif

// Turns the watch off for functions that a kernel calls but that are not part of it.
#define UNWATCHED __attribute__((no_sanitize("thread")))
