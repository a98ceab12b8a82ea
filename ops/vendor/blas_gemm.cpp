#include "taper/ops/vendor/blas_gemm.h"

#include "taper/ops/algorithms/algorithm_problem.h"

namespace taper::ops {
namespace {

/// A row-major matrix of rows x cols (cols x rows if transposed) is a column-major one of the swapped sizes.
BlasMatrix stored(const GpuMatrix& x, int64_t rows, int64_t cols, int64_t batch_stride) {
  return {.rows = x.transposed ? rows : cols,
          .cols = x.transposed ? cols : rows,
          .ld = x.stride,
          .batch_stride = batch_stride};
}

/// Returns the constant distance between neighbours of a batch of `sizes`; nothing if it varies.
std::optional<int64_t> one_stride(const GemmSizes& sizes, int64_t outer, int64_t inner) {
  if (sizes.batches() == 1) return 0;
  if (sizes.batch_outer == 1) return inner;
  if (sizes.batch_inner == 1 || outer == inner * sizes.batch_inner) return outer / sizes.batch_inner;
  return std::nullopt;
}

}  // namespace

std::optional<BlasGemm> blas_gemm(const GpuGemm& gemm) {
  const GemmSizes& sizes = gemm.sizes;
  if (sizes.m == 0 || sizes.n == 0 || sizes.k == 0 || sizes.batches() == 0) return std::nullopt;
  const auto batch_stride = [&](const GpuMatrix& x) {
    return one_stride(sizes, x.batch_outer, x.batch_inner);
  };
  const auto a = batch_stride(gemm.b), b = batch_stride(gemm.a), d = batch_stride(gemm.c);
  const auto bias = gemm.bias ? one_stride(sizes, 0, gemm.bias_batch_inner) : 0;
  if (!a || !b || !d || !bias) return std::nullopt;
  return BlasGemm{.dtype = gemm.dtype,
                  .f32_result = gemm.f32_result,
                  .allow_tf32 = gemm.allow_tf32,
                  .m = sizes.n,
                  .n = sizes.m,
                  .k = sizes.k,
                  .batches = sizes.batches(),
                  .transpose_a = gemm.b.transposed,
                  .transpose_b = gemm.a.transposed,
                  .a = stored(gemm.b, sizes.k, sizes.n, *a),
                  .b = stored(gemm.a, sizes.m, sizes.k, *b),
                  .d = stored(gemm.c, sizes.m, sizes.n, *d),
                  .c = gemm.residual != nullptr,
                  .bias = gemm.bias != nullptr,
                  .bias_batch_stride = *bias,
                  .activation = gemm.activation,
                  .alignment = alignment_of(gemm)};
}

EngineOperands blas_operands(const GpuGemm& gemm, Device device) {
  EngineOperands operands(device);
  const auto add = [&](Operand operand, const void* address) {
    if (address != nullptr) operands.add(operand, const_cast<void*>(address));
  };
  add(Operand::kA, gemm.b.data);
  add(Operand::kB, gemm.a.data);
  add(Operand::kC, gemm.residual);
  add(Operand::kD, gemm.c.data);
  add(Operand::kBias, gemm.bias);
  return operands;
}

int64_t alignment_of(const GpuGemm& gemm) {
  return common_alignment({gemm.a.data, gemm.b.data, gemm.c.data, gemm.bias, gemm.residual});
}

}  // namespace taper::ops
