#pragma once
// Controls of the simulated GPU, for tests and stress runs. Exists only in builds with -DTAPER_GPU=sim.
//
// The environment sets the first values: TAPER_SIM_DEVICES (1), TAPER_SIM_MEMORY (bytes per device, 8 GiB)
// and TAPER_SIM_SEED (0), and TAPER_SIM_FINAL_FAULTS (0) whether faults are final. Blocks run on as many CPU
// cores as taper::num_threads() says.

#include <cstddef>
#include <cstdint>

namespace taper::gpu::sim {

/// Streams run in an order drawn from `seed`: the same program with the same seed runs in the same order.
void set_schedule_seed(uint64_t seed);

/// 0 to 16 devices. Throws Error on another number.
void set_device_count(int count);

/// What one device can allocate, and reports as its total. Blocks held already stay held.
void set_memory_limit(size_t bytes);

enum class FaultPoint : uint8_t { kAllocate, kAllocatePinned, kCopy, kLaunch };

/// The n-th call from now (1: the next) of allocate, allocate_pinned, copy_async or launch fails, once, as
/// the real one can.
void fail_call(FaultPoint point, int n);

/// Whether a kernel's fault is the end of its device for this process (device_loss.h), as on hardware;
/// false at first, so that one test's fault does not end the suite.
void set_faults_are_final(bool final);

/// Whether annotate_allocated and annotate_freed (runtime.h) do anything; true at first. Off, allocators are
/// measured without the cost of poisoning and without its protection.
void set_annotations(bool enabled);

/// Back to what the environment says, with no failure pending, no device lost and a fresh schedule. Memory
/// and streams stay. A child of fork() can use the devices after it, unless another thread used one during
/// the fork.
void reset();

/// What kernels have done: figures of the kernels, the same on every machine.
struct KernelCounts {
  uint64_t launches = 0;
  uint64_t blocks = 0;
  uint64_t barriers = 0;         ///< __syncthreads, once for each block
  uint64_t warp_operations = 0;  ///< shuffles, ballots and matrix instructions, once for each warp
};

/// Counted since reset_kernel_counts(), for the kernels that have run: synchronize first.
KernelCounts kernel_counts();
void reset_kernel_counts();

/// Bytes that allocate has handed out on `device` and not got back.
size_t allocated_bytes(int device = 0);

}  // namespace taper::gpu::sim
