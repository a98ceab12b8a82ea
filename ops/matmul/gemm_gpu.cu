#include "taper/ops/matmul/gemm_gpu.h"

#include "taper/ops/matmul/gemm_launch.cuh"

namespace taper::ops {
namespace {

template <class T>
bool is_aligned(const GpuMatrix& x) {
  return reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % kVectorOf<T> == 0 &&
         x.batch_outer % kVectorOf<T> == 0 && x.batch_inner % kVectorOf<T> == 0;
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
          .relu = gemm.relu,
          .vectors = is_aligned<T>(gemm.c) && gemm.sizes.n % kVectorOf<T> == 0};
}

template <class T>
void multiply(const GpuGemm& gemm) {
  const auto launch = [&]<bool kAInnerIsK, bool kBInnerIsK>() {
    const auto& [m, n, k, batch_outer, batch_inner] = gemm.sizes;
    launch_main_loop("gemm", operand<T, kAInnerIsK>(gemm.a, kAInnerIsK ? k : m),
                     operand<T, kBInnerIsK>(gemm.b, kBInnerIsK ? k : n), output<T>(gemm), gemm.sizes);
  };
  if (gemm.a.transposed) {
    gemm.b.transposed ? launch.template operator()<false, true>()
                      : launch.template operator()<false, false>();
  } else {
    gemm.b.transposed ? launch.template operator()<true, true>() : launch.template operator()<true, false>();
  }
}

}  // namespace

void check_gemm_sizes(const char* op, const GemmSizes& sizes) {
  for (const int64_t size : {sizes.m, sizes.n, sizes.k, sizes.batches()}) {
    TAPER_CHECK(size <= kMaxGpuLoop,
                "{}: {} products [{}, {}] x [{}, {}] have a side beyond the {} that the GPU's kernels index; "
                "cut them into parts",
                op, sizes.batches(), sizes.m, sizes.k, sizes.k, sizes.n, kMaxGpuLoop);
  }
}

void gemm_gpu(const char* op, const GpuGemm& gemm) {
  check_gemm_sizes(op, gemm.sizes);
  TAPER_CHECK(!is_half(gemm.dtype), "{}: {} has no kernel on cuda yet", op, gemm.dtype);
  gemm.dtype == kFloat64 ? multiply<double>(gemm) : multiply<float>(gemm);
}

}  // namespace taper::ops
