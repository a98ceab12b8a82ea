#pragma once
// gemm_typed's definition: from a description in memory to the operands of a main loop. It is instantiated in
// several files by dtype, because the main loops take long to compile.

#include "taper/ops/gemm/gpu/gemm_launch.cuh"
#include "taper/ops/gemm/gpu/gemm_typed.h"

namespace taper::ops {
namespace {

bool is_aligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

/// Whether every multiple of 16 bytes along a row is aligned.
template <class T>
bool is_aligned(const GpuMatrix& x) {
  return is_aligned(x.data) && x.stride % kVectorOf<T> == 0 && x.batch_outer % kVectorOf<T> == 0 &&
         x.batch_inner % kVectorOf<T> == 0;
}

template <class T, bool kInnerIsK>
MatrixOperand<T, kInnerIsK> operand(const GpuMatrix& x, int64_t inner_size) {
  return {.data = static_cast<const T*>(x.data),
          .stride = x.stride,
          .batch = {x.batch_outer, x.batch_inner},
          .vectors = is_aligned<T>(x) && inner_size % kVectorOf<T> == 0};
}

template <class T>
GemmOutput<T> output(const GpuGemm& gemm) {
  return {.data = static_cast<T*>(gemm.c.data),
          .rows = {.image_stride = gemm.c.stride},
          .batch = {gemm.c.batch_outer, gemm.c.batch_inner},
          .bias = static_cast<const T*>(gemm.bias),
          .bias_batch = {0, gemm.bias_batch_inner},
          .residual = static_cast<const T*>(gemm.residual),
          .relu = gemm.activation == Activation::kRelu,
          .vectors = is_aligned<T>(gemm.c) && is_aligned(gemm.residual) && gemm.sizes.n % kVectorOf<T> == 0,
          .partial = gemm.f32_result ? static_cast<SumOf<T>*>(gemm.c.data) : nullptr};
}

}  // namespace

template <class T>
void gemm_typed(const GpuGemm& gemm) {
  const auto launch = [&]<bool kAInnerIsK, bool kBInnerIsK>() {
    const auto& [m, n, k, batch_outer, batch_inner] = gemm.sizes;
    launch_main_loop("gemm", operand<T, kAInnerIsK>(gemm.a, kAInnerIsK ? k : m),
                     operand<T, kBInnerIsK>(gemm.b, kBInnerIsK ? k : n), output<T>(gemm), gemm.sizes,
                     gemm.tiles);
  };
  if (gemm.a.transposed) {
    gemm.b.transposed ? launch.template operator()<false, true>()
                      : launch.template operator()<false, false>();
  } else {
    gemm.b.transposed ? launch.template operator()<true, true>() : launch.template operator()<true, false>();
  }
}

}  // namespace taper::ops
