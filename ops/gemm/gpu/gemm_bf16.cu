// Instantiates the matrix products of gemm.h for bf16.

#include "taper/ops/gemm/gpu/gemm_typed.cuh"

namespace taper::ops {

template void gemm_typed<__nv_bfloat16>(const GpuGemm&);

}  // namespace taper::ops
