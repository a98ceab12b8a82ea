#pragma once
// Ops as named ranges in NVIDIA's tools (Nsight Systems, Nsight Compute), through NVTX. On whenever such a
// tool has started the program.

namespace taper::gpu::detail {

/// Makes OpScopes known to NVTX if a tool listens. The runtime calls it once, when it first looks for
/// devices.
void start_nvtx();

}  // namespace taper::gpu::detail
