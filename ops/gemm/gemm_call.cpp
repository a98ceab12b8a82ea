#include "taper/ops/gemm/gemm_call.h"

#include <algorithm>
#include <array>

#include "taper/core/base/warning.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tf32.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/elementwise/elementwise_gpu.h"
#include "taper/ops/vendor/gemm_library.h"

namespace taper::ops {
namespace {

/// What NVIDIA advises for Hopper; larger ones only invite splits that write more than they gain.
constexpr size_t kLibraryWorkspaceBytes = size_t(32) << 20;

/// How coarsely the library may compute the product, beyond rounding the result to its dtype.
double library_epsilon(const GpuGemm& gemm) {
  double epsilon = gemm.dtype == kFloat32 && gemm.allow_tf32 ? kTf32Epsilon : 0;
  if (gemm.activation == Activation::kGeluTanh && gemm.dtype != kFloat64)
    epsilon = std::max(epsilon, kLibraryGeluEpsilon);
  return epsilon;
}

int64_t alignment_of(const GpuGemm& gemm) {
  return common_alignment({gemm.a.data, gemm.b.data, gemm.c.data, gemm.bias, gemm.residual});
}

template <GemmTiles kTiles>
void run_own(const GemmCall& call, void*) {
  const gpu::DeviceGuard guard(call.c.device().index);
  GpuGemm gemm = call.located();
  gemm.tiles = kTiles;
  const bool gelu = gemm.activation == Activation::kGeluTanh;
  if (gelu) gemm.activation = Activation::kNone;
  gemm_gpu("gemm", gemm);
  // In a pass of its own: tanh in every kernel's epilogue would cost those without it their registers.
  if (gelu) elementwise_gpu(ElementwiseOp::kGeluTanh, call.c, std::array{call.c}, compute_dtype(gemm.dtype));
}

void add_library_candidates(const GemmCall& call, std::vector<Candidate<GemmCall>>& candidates) {
  const auto library = gemm_library();
  const GpuGemm gemm = call.located();
  const auto blas = blas_gemm(gemm);
  if (!library || !blas) return;
  const gpu::DeviceGuard guard(call.c.device().index);
  const size_t limit = std::min(algorithm_cache().workspace_limit(), kLibraryWorkspaceBytes);
  std::vector<GemmAlgorithm> algorithms;
  try {
    algorithms = library->algorithms(*blas, alignment_of(gemm), limit);
  } catch (const Error& error) {
    warn(fmt::format("{}: {}; Taper's own kernel takes over", call.problem().str(), error.what()));
  }
  const double epsilon = library_epsilon(gemm);
  double cost = 1;
  for (GemmAlgorithm& algorithm : algorithms) {
    candidates.push_back({.name = library->name() + " " + algorithm.name,
                          .workspace_bytes = algorithm.workspace_bytes,
                          .deterministic = algorithm.deterministic,
                          .cost = cost += 1e-3,
                          .epsilon = epsilon,
                          .run = [library, algorithm](const GemmCall& product, void* workspace) {
                            const gpu::DeviceGuard device(product.c.device().index);
                            library->run(*blas_gemm(product.located()), algorithm, workspace);
                          }});
  }
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
  if (gemm.dtype == kFloat32) problem.add("tf32", {gemm.allow_tf32});
  return problem;
}

GpuGemm GemmCall::located() const {
  GpuGemm gemm_at = gemm;
  gemm_at.c.data = static_cast<char*>(c.data_ptr()) + c_offset * int64_t(size_of(gemm.dtype));
  return gemm_at;
}

std::vector<Candidate<GemmCall>> gemm_candidates(const GemmCall& call) {
  // The usual tiles are the estimate; the others are there to be measured. f64 has one shape.
  const bool has_shapes = call.gemm.dtype != kFloat64;
  std::vector<Candidate<GemmCall>> candidates = {
      {.name = "own kernel", .cost = 2, .run = run_own<GemmTiles::kUsual>},
      {.name = "own kernel, large tiles",
       .supported = has_shapes,
       .cost = 3,
       .run = run_own<GemmTiles::kLarge>},
      {.name = "own kernel, small tiles",
       .supported = has_shapes,
       .cost = 3,
       .run = run_own<GemmTiles::kSmall>}};
  add_library_candidates(call, candidates);
  return candidates;
}

void run_gemm(const char* op, const GemmCall& call) {
  if (call.c.numel() == 0) return;
  check_gemm_sizes(op, call.gemm.sizes);
  algorithm_cache().run(call, gemm_candidates);
}

}  // namespace taper::ops
