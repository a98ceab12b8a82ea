#pragma once
// The CPU's batched matrix product and its algorithms; matmul.cpp has checked the operands.

#include "taper/core/tensor.h"
#include "taper/ops/algorithms/algorithm_cache.h"

namespace taper::ops {

/// c = a b + beta * c. a: [batch..., M, K], b: [batch..., K, N], c: [batch..., M, N] row-major. All have one
/// batch shape, in which a and b may have strides of 0. a and b: f32, f64, f16 or bf16. c: as a, or f32. The
/// rows or the columns of a and b are contiguous.
void matmul_cpu(const Tensor& a, const Tensor& b, double beta, const Tensor& c);

/// A call of matmul_cpu, for the algorithm cache.
struct MatmulCall {
  Tensor a, b, c;
  double beta = 0;

  Problem problem() const {
    return Problem("matmul", "forward", c.device())
        .add("a", a)
        .add("b", b)
        .add("c", c)
        .add("accumulate", {beta != 0});
  }
  std::vector<Tensor*> outputs() { return {&c}; }
};

/// Returns "packed" (gemm/cpu/gemm.h, half_gemm.h) for everything, "dot products" (gemm/cpu/dot_products.h)
/// for one large matrix and few vectors, and the kernels for bf16 that the CPU has (half_kernel.h). In benchmark mode also the product of gemm_eigen.h.
std::vector<Algorithm> matmul_cpu_algorithms(const MatmulCall& call);

/// Whether the last two axes of x can be read as a matrix in place.
bool is_matrix_layout(const Tensor& x);

}  // namespace taper::ops
