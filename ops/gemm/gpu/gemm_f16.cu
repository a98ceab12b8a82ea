// Instantiates the matrix products of gemm.h for f16.

#include "taper/ops/gemm/gpu/gemm_typed.cuh"

namespace taper::ops {

template void gemm_typed<__half>(const GpuGemm&);

}  // namespace taper::ops
