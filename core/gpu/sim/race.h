#pragma once
// Finds races of kernels, in builds configured with -DTAPER_SIM_RACES=ON (preset sim-race).
//
// Files with kernels are then compiled with -fsanitize=thread but not linked with its runtime. The compiler
// inserts calls before every load and store. They go to race.cpp, which remembers who touched each byte of
// shared and device memory, and when. Two accesses of one byte by different threads are a race if at least
// one writes and they are not both atomic, unless something orders them: a barrier of the block, an operation
// of the warp that both lanes took part in, or the end of the kernel. Between blocks, it takes a
// __threadfence followed by an atomic on one side, and an atomic on the same word on the other.

#include <cstddef>
#include <cstdint>

namespace taper::gpu::sim {

#if TAPER_SIM_RACES
constexpr bool kFindRaces = true;
#else
constexpr bool kFindRaces = false;
#endif

/// What the runner of blocks tells the detector. With kFindRaces all blocks run on one OS thread, one after
/// another.
namespace race {
void begin_launch();
void begin_block();
void block_barrier();
void warp_collective(int warp, uint32_t members);
/// Records an access of the running thread by code that is not instrumented, for the line at `place`.
void watch(const volatile void* target, size_t size_bytes, bool write, const void* place);
}  // namespace race

}  // namespace taper::gpu::sim
