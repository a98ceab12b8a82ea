#pragma once
// gemm_gpu for one dtype. For .cu files only.

#include "taper/core/gpu/simt.h"
#include "taper/ops/gemm/gpu/gemm.h"

namespace taper::ops {

/// Calls body.operator()<T>() with the device's type for f32, f64, f16 or bf16.
template <class Body>
void dispatch_device_float(DType dtype, Body&& body) {
  switch (dtype) {
    case kFloat64:
      return body.template operator()<double>();
    case kFloat16:
      return body.template operator()<__half>();
    case kBFloat16:
      return body.template operator()<__nv_bfloat16>();
    default:
      return body.template operator()<float>();
  }
}

/// T: float, double, __half or __nv_bfloat16, as gemm.dtype says; sizes checked.
template <class T>
void gemm_typed(const GpuGemm& gemm);

}  // namespace taper::ops
