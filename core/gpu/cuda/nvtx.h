#pragma once
// Ops as named ranges in NVIDIA's tools (Nsight Systems, Nsight Compute), through NVTX. On whenever such a
// tool started the program.

namespace taper::gpu::detail {

/// Reports OpScopes to NVTX if a tool listens. The runtime calls this once, when it first looks for devices.
void start_nvtx();

}  // namespace taper::gpu::detail
