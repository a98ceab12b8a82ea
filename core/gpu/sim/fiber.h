#pragma once
// Fibers: stacks that one OS thread switches between. Each waiting thread of a simulated block has one.
//
// Built on Boost.Context's fcontext layer, the assembly under boost::context::fiber, because a block switches
// directly from fiber to fiber (no scheduler in between) and drops fibers whose thread faulted.

#include <cstddef>

#include "taper/core/gpu/sim/shim/vector_types.h"

namespace taper::gpu::sim {

/// Bytes of stack per simulated thread. Only pages that a kernel touches become memory.
constexpr size_t kFiberStackBytes = 256 * 1024;
/// Inaccessible bytes below the stack. More than one page, because a large frame can skip a page.
constexpr size_t kFiberGuardBytes = 64 * 1024;

/// A stack and the simulated thread that runs on it. A default Fiber stands for the OS thread's own stack.
struct Fiber {
  void* context = nullptr;  // where it continues; null while it runs or before it ever ran
  void (*entry)() = nullptr;
  void* stack = nullptr;  // lowest address, above the guard
  size_t stack_bytes = 0;
  void* shadow = nullptr;  // the sanitizers' own record of this stack
  int thread = -1;         // the block's index of the thread that it runs; -1: none
  uint3 thread_index{};
};

/// Gives `fiber` a stack above a guard region, and the function it starts in, which must not return. `colour`
/// shifts the top of the stack so that the fibers of a block do not all use the same cache sets. Throws
/// OutOfMemoryError.
void create_fiber(Fiber& fiber, void (*entry)(), int colour);

/// Stops the running fiber `from` and continues `to`. Returns when something switches back to `from`.
void switch_fiber(Fiber& from, Fiber& to);

/// Forgets what ran on `fiber`, without unwinding. Its next switch starts in its entry again.
void reset_fiber(Fiber& fiber);

void destroy_fiber(Fiber& fiber);

}  // namespace taper::gpu::sim
