// Instantiates the matrix products of gemm.h for f32 and f64.

#include "taper/ops/gemm/gpu/gemm_typed.cuh"

namespace taper::ops {

template void gemm_typed<float>(const GpuGemm&);
template void gemm_typed<double>(const GpuGemm&);

}  // namespace taper::ops
