#pragma once
// Ops as named ranges in NVIDIA's tools (Nsight Systems, Nsight Compute), through NVTX. On whenever such a
// tool has started the program; a build without CUDA has none of it.

#include <string_view>

namespace taper::gpu::detail {

#if TAPER_SIMULATED_GPU
inline void nvtx_push(std::string_view) {}
inline void nvtx_pop() {}
#else
/// Makes OpScopes known to NVTX if a tool listens. The runtime calls it once, when it first looks for
/// devices.
void start_nvtx();
void nvtx_push(std::string_view name);
void nvtx_pop();
#endif

}  // namespace taper::gpu::detail
