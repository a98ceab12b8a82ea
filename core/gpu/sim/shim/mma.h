#pragma once
// The simulated twins of core/gpu/mma.h and core/gpu/async_copy.h.

#include <cstddef>
#include <cstdint>

#include "taper/core/gpu/sim/shim/thread.h"

namespace taper::gpu::sim {

/// The warp's 16x8x16 multiply-add; `c`, `a` and `b` are this lane's fragments. T: __half or __nv_bfloat16.
template <class T>
void mma(float* c, const uint32_t* a, const uint32_t* b);

/// Executes ldmatrix: loads `count` matrices into this lane's x[0..count).
void load_matrices(uint32_t* x, int count, bool transposed, const void* shared_row, const Where& where);

/// Queues a copy to be done when this thread waits for its group, which is as late as hardware may do it.
/// Bytes from `valid_bytes` on become zero.
void async_copy(void* shared, const void* global, size_t size_bytes, size_t valid_bytes, const Where& where);
void async_copy_commit();
void async_copy_wait(int groups_in_flight);

}  // namespace taper::gpu::sim
