#pragma once
// Controls of the simulated GPU, for tests and stress runs. Exists only in builds with -DTAPER_GPU=sim.
//
// The environment sets the initial values: TAPER_SIM_DEVICES (1), TAPER_SIM_MEMORY (bytes per device, 8 GiB),
// TAPER_SIM_SEED (0), and TAPER_SIM_FINAL_FAULTS (0), which says whether faults are final. Blocks run on
// taper::num_threads() CPU cores.

#include <cstddef>
#include <cstdint>

namespace taper::gpu::sim {

/// Sets the seed of the order in which streams run: a program with an equal seed runs in an equal order.
void set_schedule_seed(uint64_t seed);

/// Sets the number of devices, 0 to 16. Throws Error for any other number.
void set_device_count(int count);

/// Limits what one device can allocate, and reports as its total. Blocks already held stay held.
void set_memory_limit(size_t bytes);

enum class FaultPoint : uint8_t { kAllocate, kAllocatePinned, kCopy, kLaunch };

/// Makes the n-th call from now (1: the next) of allocate, allocate_pinned, copy_async or launch fail once,
/// as the real call can.
void fail_call(FaultPoint point, int n);

/// Sets whether a kernel's fault loses its device for this process (device_loss.h), as on hardware. Initially
/// false, so that one test's fault does not end the suite.
void set_faults_are_final(bool final);

/// Sets whether annotate_allocated and annotate_freed (runtime.h) do anything; initially true. When off,
/// allocators are measured without the cost of poisoning and without its protection.
void set_annotations(bool enabled);

/// Restores what the environment says, with no failure pending, no device lost and a fresh schedule. Memory
/// and streams stay. A child of fork() can then use the devices, unless another thread used one during the
/// fork.
void reset();

/// What kernels have done. Depends only on the kernels, so it is equal on every machine.
struct KernelCounts {
  uint64_t launches = 0;
  uint64_t blocks = 0;
  uint64_t barriers = 0;         ///< __syncthreads, counted once for each block
  uint64_t warp_operations = 0;  ///< shuffles, ballots and matrix instructions, counted once for each warp
};

/// Returns what kernels did since reset_kernel_counts(). Counts only kernels that have run: synchronize
/// first.
KernelCounts kernel_counts();
void reset_kernel_counts();

/// Returns how often, since the program began, the host has waited for work that was not done yet.
uint64_t host_waits();

/// Returns the bytes that allocate has handed out on `device` and not got back.
size_t allocated_bytes(int device = 0);

}  // namespace taper::gpu::sim
