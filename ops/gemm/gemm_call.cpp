#include "taper/ops/gemm/gemm_call.h"

#include <array>

#include "taper/core/gpu/runtime.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/elementwise/elementwise_gpu.h"
#include "taper/ops/vendor/library_algorithms.h"

namespace taper::ops {
namespace {

template <GemmTiles kTiles>
void run_own(const GemmCall& call, void*) {
  const gpu::DeviceGuard guard(call.c.device().index);
  GpuGemm gemm = call.located();
  gemm.tiles = kTiles;
  const bool gelu = gemm.activation == Activation::kGeluTanh;
  if (gelu) gemm.activation = Activation::kNone;
  gemm_gpu("gemm", gemm);
  // A pass of its own: tanh in every kernel's epilogue would cost the kernels without GELU registers.
  if (gelu) elementwise_gpu(ElementwiseOp::kGeluTanh, call.c, std::array{call.c}, compute_dtype(gemm.dtype));
}

std::vector<Algorithm> library_products(const GemmCall& call) {
  const auto blas = blas_gemm(call.located());
  if (!blas) return {};
  return translated<GemmCall>(library_algorithms(*blas, call.problem(), 1), [](const GemmCall& product) {
    return blas_operands(product.located(), product.c.device());
  });
}

}  // namespace

Problem GemmCall::problem() const {
  const auto& [m, n, k, batch_outer, batch_inner] = gemm.sizes;
  const auto &a = gemm.a, &b = gemm.b, &to = gemm.c;
  Problem problem("gemm", "forward", c.device());
  problem.add("dtype", gemm.dtype)
      .add("m,n,k", {m, n, k})
      .add("batch", {batch_outer, batch_inner})
      .add("a", {a.transposed, a.stride, a.batch_outer, a.batch_inner})
      .add("b", {b.transposed, b.stride, b.batch_outer, b.batch_inner})
      .add("c", {to.stride, to.batch_outer, to.batch_inner})
      .add("bias", {gemm.bias != nullptr, gemm.bias_batch_inner})
      .add("residual", {gemm.residual != nullptr})
      .add("alignment", {alignment_of(located())});
  if (gemm.activation == Activation::kRelu) problem.add("epilogue", "relu");
  if (gemm.activation == Activation::kGeluTanh) problem.add("epilogue", "gelu_tanh");
  if (c.dtype() != gemm.dtype) problem.add("result", c.dtype());
  if (gemm.dtype == kFloat32) problem.add("tf32", {gemm.allow_tf32});
  return problem;
}

GpuGemm GemmCall::located() const {
  GpuGemm gemm_at = gemm;
  gemm_at.c.data = static_cast<char*>(c.data_ptr()) + c_offset * int64_t(size_of(c.dtype()));
  gemm_at.f32_result = c.dtype() != gemm.dtype;
  return gemm_at;
}

std::vector<Algorithm> gemm_algorithms(const GemmCall& call) {
  // The usual tiles are the estimate; the other sizes count once they are measured. f64 has one size.
  const bool has_shapes = call.gemm.dtype != kFloat64;
  std::vector<Algorithm> list = {{.name = "own kernel", .rank = 2, .run = run_own<GemmTiles::kUsual>},
                                 {.name = "own kernel, large tiles",
                                  .supported = has_shapes,
                                  .rank = 3,
                                  .run = run_own<GemmTiles::kLarge>},
                                 {.name = "own kernel, small tiles",
                                  .supported = has_shapes,
                                  .rank = 3,
                                  .run = run_own<GemmTiles::kSmall>}};
  append(list, library_products(call));
  return list;
}

void run_gemm(const char* op, const GemmCall& call) {
  if (call.c.numel() == 0) return;
  check_gemm_sizes(op, call.gemm.sizes);
  algorithm_cache().run(call, gemm_algorithms);
}

}  // namespace taper::ops
