#pragma once
// The language of kernels, for both builds. A .cu file includes this (or launch.h) and then writes plain
// CUDA.
//
// Under nvcc it brings CUDA's own headers. With the simulated GPU the host compiler reads the same .cu file,
// and the headers below give it CUDA's names: __global__, threadIdx, __shared__, __syncthreads, shuffles,
// atomics, __half. The few things that differ from CUDA as written elsewhere:
// - launch with gpu::launch (launch.h), never with <<< >>>;
// - dynamic shared memory is gpu::dynamic_shared<T>(), never `extern __shared__`;
// - alignment of shared arrays is `__shared__ __align__(16) float x[64]`, not alignas in that place;
// - every thread of a block reaches every __syncthreads, early returns included: hardware forgives that, the
//   simulated GPU reports it;
// - a thread that spins until another one writes calls __nanosleep in its loop.

#if TAPER_SIMULATED_GPU

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))

#include "taper/core/gpu/sim/shim/atomics.h"
#include "taper/core/gpu/sim/shim/half.h"
#include "taper/core/gpu/sim/shim/intrinsics.h"
#include "taper/core/gpu/sim/shim/thread.h"
#include "taper/core/gpu/sim/shim/vector_types.h"

namespace taper::gpu {

/// Returns the block's dynamic shared memory as an array of T, with as many bytes as the launch asked for.
template <class T>
T* dynamic_shared() {
  return static_cast<T*>(sim::dynamic_shared_memory());
}

}  // namespace taper::gpu

#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace taper::gpu {

template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char taper_dynamic_shared_bytes[];
  return reinterpret_cast<T*>(taper_dynamic_shared_bytes);
}

}  // namespace taper::gpu

#endif
