#pragma once
// Where all matrix products on the GPU come together. matmul, bmm, linear and the convolutions that are plain
// products describe their product as a GemmCall. The algorithm cache chooses among Taper's kernels
// (gpu/gemm.h) and the vendor's (ops/vendor).

#include <vector>

#include "taper/ops/algorithms/algorithm.h"
#include "taper/ops/gemm/gpu/gemm.h"

namespace taper::ops {

/// c = activation(a b + bias + residual) as in gpu/gemm.h, with the tensor that it writes.
struct GemmCall {
  GpuGemm gemm;  ///< without the address and the dtype of c
  Tensor c;
  int64_t c_offset = 0;  ///< elements from the tensor's first element to the product's

  Problem problem() const;
  std::vector<Tensor*> outputs() { return {&c}; }
  /// Returns `gemm` with the address and the dtype of c.
  GpuGemm located() const;
};

/// Returns Taper's kernel with tiles of three sizes, then the library's engines. Ranks: 1 to 2 for the
/// library's, in its order; higher for Taper's.
std::vector<Algorithm> gemm_algorithms(const GemmCall& call);

/// Computes `call` with the algorithm that the algorithm cache chooses. Only enqueues, on the current stream
/// of c's device. Throws Error naming `op` if a size is too large.
void run_gemm(const char* op, const GemmCall& call);

}  // namespace taper::ops
