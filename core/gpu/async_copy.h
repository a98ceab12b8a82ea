#pragma once
// Copies from device memory to shared memory that run while the thread computes (cp.async, compute
// capability 8.0).
//
//   async_copy<16>(&tile[...], source);     // any number of these
//   async_copy_commit();                    // ... form a group
//   ...
//   async_copy_wait<1>();                   // all but this thread's latest group have landed
//   __syncthreads();                        // ... and so have the other threads'
//
// Until then the destination must not be read, nor the source written. CUDA's counterpart:
// cuda_pipeline_primitives.h.

#include "taper/core/gpu/simt.h"

#if TAPER_SIMULATED_GPU
#include "taper/core/gpu/sim/shim/mma.h"
#endif

namespace taper::gpu {

/// Copies kBytes (4, 8 or 16; both addresses aligned to them). Where `valid` is false, writes zeros and does
/// not read `global`, which need only be an address. 16-byte copies bypass the L1 cache.
#if TAPER_SIMULATED_GPU
template <int kBytes>
void async_copy(void* shared, const void* global, bool valid = true,
                const sim::Where& where = sim::Where::current()) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async copies 4, 8 or 16 bytes");
  sim::async_copy(shared, global, kBytes, valid ? kBytes : 0, where);
}
#else
template <int kBytes>
__device__ __forceinline__ void async_copy(void* shared, const void* global, bool valid = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16, "cp.async copies 4, 8 or 16 bytes");
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int valid_bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(valid_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(global), "n"(kBytes),
                 "r"(valid_bytes)
                 : "memory");
  }
}
#endif

/// Closes a group: this thread's copies since the last commit.
__device__ __forceinline__ void async_copy_commit() {
#if TAPER_SIMULATED_GPU
  sim::async_copy_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most the kInFlight latest groups of this thread are still running.
template <int kInFlight>
__device__ __forceinline__ void async_copy_wait() {
  static_assert(kInFlight >= 0);
#if TAPER_SIMULATED_GPU
  sim::async_copy_wait(kInFlight);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kInFlight) : "memory");
#endif
}

}  // namespace taper::gpu
