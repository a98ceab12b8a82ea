#pragma once
// The second half of a product whose k was split.

#include "taper/ops/gemm/gpu/gemm_operands.cuh"

namespace taper::ops {

/// Adds out.partial's sums over `splits` parts and writes them to out.data, finished as `out` says. T: float,
/// double, __half or __nv_bfloat16.
template <class T>
void finish_splits(const GemmOutput<T>& out, const GemmProblem& problem, int64_t splits);

}  // namespace taper::ops
