#pragma once
// gemm_gpu for one dtype. For .cu files only.

#include "taper/core/gpu/simt.h"
#include "taper/ops/gemm/gpu/gemm.h"

namespace taper::ops {

/// T: float, double, __half or __nv_bfloat16, as in gemm.dtype. Sizes are checked.
template <class T>
void gemm_typed(const GpuGemm& gemm);

}  // namespace taper::ops
