#include "taper/ops/gemm/gpu/gemm_splits.h"

#include <algorithm>

#include "taper/core/base/ceil_div.h"

namespace taper::ops {
namespace {

constexpr int kBlock = 256;

/// One thread for each element; neighbours are neighbours in a row of the result. Adds the parts in order.
/// Reads splits * 4 bytes (f64: 8) and writes one element for each. Limited by memory.
template <class T>
__global__ void __launch_bounds__(kBlock)
    add_splits(GemmOutput<T> result, GemmProblem problem, int64_t splits, int64_t elements) {
  const int64_t stride = int64_t(gridDim.x) * kBlock;
  for (int64_t i = int64_t(blockIdx.x) * kBlock + threadIdx.x; i < elements; i += stride) {
    SumOf<T> sum = 0;
#pragma unroll 4
    for (int64_t split = 0; split < splits; ++split) sum += result.partial[split * elements + i];
    GemmOutput<T> out = result;
    const int64_t row = i / problem.n, batch = row / problem.m;
    const int n = int(i - row * problem.n), m = int(row - batch * problem.m);
    const int64_t outer = batch / problem.batch_inner.divisor;
    out.select(outer, batch - outer * problem.batch_inner.divisor);
    const int64_t offset = out.rows.offset(m) + n;
    out.data[offset] = out.finish(sum, n, out.residual ? out.residual[offset] : T(0.0f));
  }
}

}  // namespace

template <class T>
void finish_splits(const GemmOutput<T>& out, const GemmProblem& problem, int64_t splits) {
  const int64_t elements = problem.batches * problem.m * problem.n;
  const int64_t blocks =
      std::min<int64_t>(ceil_div(elements, kBlock), int64_t(gpu::properties().multiprocessors) * 8);
  gpu::launch("gemm_add_splits", add_splits<T>, {.grid = unsigned(blocks), .block = kBlock}, out, problem,
              splits, elements);
}

template void finish_splits(const GemmOutput<float>&, const GemmProblem&, int64_t);
template void finish_splits(const GemmOutput<double>&, const GemmProblem&, int64_t);
template void finish_splits(const GemmOutput<__half>&, const GemmProblem&, int64_t);
template void finish_splits(const GemmOutput<__nv_bfloat16>&, const GemmProblem&, int64_t);

}  // namespace taper::ops
