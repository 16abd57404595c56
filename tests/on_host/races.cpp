// Finds data races. g++ -fsanitize=thread calls a function before each memory access. This file
// defines these functions: the sanitizer's own know the threads of the host, not those of a block.
//
// Two accesses to a byte, one of them a write, race unless something orders them:
//   same thread                          its program
//   same block                           a __syncthreads between them; in one warp, a __syncwarp
//   different blocks, array of a launch  nothing
// A warp shuffle orders nothing. Shared memory is fresh in each block, and must be written before it
// is read. An address that is neither in an array of the launch nor shared nor local is out of bounds.
#define RACES
#include "watch.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

Watch watch;
extern "C" char __ehdr_start __attribute__((visibility("hidden")));
extern "C" char _end __attribute__((visibility("hidden")));

namespace {

struct Access {
  unsigned block = 0, barrier = 0, warp_barrier = 0, thread = ~0u;
  unsigned place = 0;  // of the instruction in the library
  bool happened() const { return thread != ~0u; }
  unsigned warp() const { return thread / 32; }
};

// Of all reads, two by different threads: a write by a third thread races with one of them if it
// races with any read.
struct Reads {
  Access first, other;
  void add(const Access& now, bool same_scope, bool same_reader) {
    if (!first.happened() || !same_scope)
      first = now, other = Access{};
    else if (!same_reader && !other.happened())
      other = now;
  }
};

// The accesses to one element. Writes are ordered, or there was a race: the last one is enough.
struct Element {
  Access write;
  Reads of_blocks, of_warps, of_lanes;  // in the launch; up to the next barrier; to the next __syncwarp

  void read(const Access& now) {
    const Access &block = of_blocks.first, &warp = of_warps.first, &lane = of_lanes.first;
    bool same_phase = warp.block == now.block && warp.barrier == now.barrier;
    bool same_warp_phase = lane.block == now.block && lane.barrier == now.barrier &&
                           lane.warp() == now.warp() && lane.warp_barrier == now.warp_barrier;
    of_blocks.add(now, true, block.block == now.block);
    of_warps.add(now, same_phase, warp.warp() == now.warp());
    of_lanes.add(now, same_warp_phase, lane.thread == now.thread);
  }
};

struct Memory {
  const char *start = nullptr, *end = nullptr;
  size_t itemsize = 1;
  std::vector<Element> elements;
};

std::vector<Memory> arrays;  // of this launch, by parameter; empty where it is not a pointer
Memory shared;               // byte by byte; never cleared, because accesses of other blocks do not count

bool ordered(const Access& before, const Access& now, bool in_shared) {
  if (!before.happened()) return true;
  if (before.block != now.block) return in_shared;
  if (before.thread == now.thread || before.barrier != now.barrier) return true;
  return before.warp() == now.warp() && before.warp_barrier != now.warp_barrier;
}

// "@0x12" is an address in the library; build.py puts the line of the source in its place.
std::string at(unsigned place) {
  char text[20];
  snprintf(text, sizeof text, "@0x%x", place);
  return text;
}

std::string describe(const Access& access, bool write) {
  return "thread " + std::to_string(access.thread) + " of block " +
         std::to_string(access.block - watch.first_block) + (write ? " writes " : " reads ") +
         at(access.place);
}

std::string name(const Memory& memory, size_t i) {
  if (&memory == &shared) return "shared memory, byte " + std::to_string(i);
  return "argument " + std::to_string(&memory - &arrays[0]) + ", element " + std::to_string(i);
}

void check(Memory& memory, size_t i, const Access& now, bool write) {
  Element& element = memory.elements[i];
  bool in_shared = &memory == &shared;
  auto race = [&](const Access& before, bool before_writes) {
    if (ordered(before, now, in_shared)) return;
    watch.stop(("race in " + name(memory, i) + ": " + describe(before, before_writes) + " and " +
                describe(now, write) + ", with nothing to order them")
                   .c_str());
  };
  race(element.write, true);
  if (!write) {
    bool written = element.write.happened() && element.write.block == now.block;
    if (in_shared && !written)
      watch.stop((describe(now, false) + " in " + name(memory, i) + ", which no thread wrote").c_str());
    element.read(now);
    return;
  }
  for (Reads* reads : {&element.of_blocks, &element.of_warps, &element.of_lanes}) {
    race(reads->first, false);
    race(reads->other, false);
  }
  element.write = now;
}

void out_of_bounds(const char* address, const Access& now, bool write) {
  std::string nearest = "far from every array";
  intptr_t least = 1 << 20;
  for (size_t k = 0; k < arrays.size(); k++) {
    intptr_t below = arrays[k].start - address, above = address - arrays[k].end;
    intptr_t distance = below > 0 ? below : above;
    if (!arrays[k].start || distance >= least) continue;
    least = distance;
    nearest = std::to_string(distance) + (below > 0 ? " bytes before" : " bytes after") +
              " the array of argument " + std::to_string(k);
  }
  watch.stop(("out of bounds, " + nearest + ": " + describe(now, write)).c_str());
}

Memory* memory_at(const char* address) {
  if (address >= watch.shared && address < watch.shared_end) {
    shared.start = watch.shared, shared.end = watch.shared_end;
    return &shared;
  }
  for (Memory& array : arrays)
    if (address >= array.start && address < array.end) return &array;
  return nullptr;
}

void access(const char* address, size_t size, bool write, void* caller) {
  if (address >= watch.stack && address < watch.stack_end) return;
  watch.on = false;
  Access now{watch.block, watch.barrier, watch.warp_barrier, watch.thread,
             unsigned(static_cast<char*>(caller) - 1 - &__ehdr_start)};
  Memory* memory = memory_at(address);
  bool constant = !write && address >= &__ehdr_start && address < &_end;  // or threadIdx
  if (memory && address + size > memory->end)
    out_of_bounds(memory->end, now, write);
  else if (memory) {
    size_t first = address - memory->start, last = first + size - 1;
    memory->elements.resize((memory->end - memory->start) / memory->itemsize);
    for (size_t i = first / memory->itemsize; i <= last / memory->itemsize; i++)
      check(*memory, i, now, write);
  } else if (!constant) {
    out_of_bounds(address, now, write);
  }
  watch.on = true;
}

}  // namespace

extern "C" {

void races_start() { arrays.clear(); }
void races_array(const char* start, size_t size, size_t itemsize) {
  arrays.push_back({start, start + size, itemsize, {}});
}

#define HOOK(name, size, write, ...)                                         \
  void __tsan_##name(const char* address, ##__VA_ARGS__) {                   \
    if (watch.on) access(address, size, write, __builtin_return_address(0)); \
  }
#define HOOKS(size)              \
  HOOK(read##size, size, false)  \
  HOOK(write##size, size, true)  \
  HOOK(unaligned_read##size, size, false) \
  HOOK(unaligned_write##size, size, true)
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
HOOK(read_range, size, false, size_t size)
HOOK(write_range, size, true, size_t size)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void*, void*) {}
void __tsan_vptr_read(void*) {}
}
