#include "taper/ops/matmul/matmul_cpu.h"

#include <algorithm>

#include "taper/core/parallel.h"
#include "taper/core/views.h"
#include "taper/ops/matmul/dot_products_cpu.h"
#include "taper/ops/matmul/gemm_cpu.h"

namespace taper::ops {
namespace {

enum class Layout { kRows, kColumns, kNeither };

Layout layout_of(const Tensor& x) {
  const int64_t rows = x.size(-2), cols = x.size(-1);
  const int64_t row_stride = x.strides()[x.dim() - 2], col_stride = x.strides().back();
  if ((col_stride == 1 || cols <= 1) && (row_stride >= cols || rows <= 1)) return Layout::kRows;
  if ((row_stride == 1 || rows <= 1) && (col_stride >= rows || cols <= 1)) return Layout::kColumns;
  return Layout::kNeither;
}

template <class T>
Matrix<T> matrix_of(const Tensor& x, int64_t batch_index) {
  int64_t offset = 0;
  for (int64_t axis = x.dim() - 3; axis >= 0; --axis) {
    offset += batch_index % x.size(axis) * x.strides()[axis];
    batch_index /= x.size(axis);
  }
  T* data = x.data<std::remove_const_t<T>>() + offset;
  const int64_t rows = x.size(-2), cols = x.size(-1);
  if (layout_of(x) == Layout::kColumns) return {data, rows, cols, std::max(x.strides().back(), rows), true};
  return {data, rows, cols, std::max(x.strides()[x.dim() - 2], cols), false};
}

template <class T>
void multiply(const Tensor& a, const Tensor& b, T beta, const Tensor& c) {
  const int64_t m = c.size(-2), n = c.size(-1), k = a.size(-1);
  if (c.numel() == 0) return;
  const int64_t batch = c.numel() / (m * n);
  if (batch == 1)
    return gemm<T>(matrix_of<const T>(a, 0), matrix_of<const T>(b, 0), beta, matrix_of<T>(c, 0));
  const GemmBlocks blocks = gemm_blocks<T>(m, n, k);
  const int64_t per_matrix = blocks.count_rows * blocks.count_cols;
  // Tiny products go several to a piece of work.
  const int64_t grain = std::max<int64_t>(1, (int64_t(1) << 19) / std::max<int64_t>(2 * m * n * k, 1));
  parallel_for(batch * per_matrix, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % per_matrix / blocks.count_cols * blocks.rows;
      const int64_t col = i % per_matrix % blocks.count_cols * blocks.cols;
      const int64_t rows = std::min(blocks.rows, m - row), cols = std::min(blocks.cols, n - col);
      gemm_block<T>(matrix_of<const T>(a, i / per_matrix).block(row, 0, rows, k),
                    matrix_of<const T>(b, i / per_matrix).block(0, col, k, cols), beta,
                    matrix_of<T>(c, i / per_matrix).block(row, col, rows, cols));
    }
  });
}

/// Seconds on one core with AVX-512, as measured; other CPUs are slower at everything alike.
struct MatmulCost {
  explicit MatmulCost(const MatmulCall& call)
      : flops(2. * double(call.c.numel()) * double(call.a.size(-1))),
        operand_bytes(double(call.a.size_bytes() + call.b.size_bytes())) {}

  /// First both operands are copied into panels, then these are multiplied at full speed.
  double packed() const { return 4e-6 + operand_bytes / 30e9 + flops / 190e9; }
  /// A few vectors are multiplied while the matrix arrives from memory; more of them cost their arithmetic,
  /// with two loads for each multiplication.
  double dot_products() const { return std::max(operand_bytes / 60e9, flops / 55e9); }

  double flops, operand_bytes;
};

}  // namespace

bool is_matrix_layout(const Tensor& x) {
  return layout_of(x) != Layout::kNeither;
}

std::vector<Candidate<MatmulCall>> matmul_cpu_candidates(const MatmulCall& call) {
  const MatmulCost cost(call);
  const bool one_matrix = call.c.numel() == call.c.size(-2) * call.c.size(-1);
  const bool rows_times_columns =
      layout_of(call.a) == Layout::kRows && layout_of(views::transpose(call.b, -2, -1)) == Layout::kRows;
  return {{.name = "packed",
           .cost = cost.packed(),
           .run =
               [](const MatmulCall& m, void*) {
                 dispatch_compute_float(m.c.dtype(), "matmul",
                                        [&]<class T>() { multiply<T>(m.a, m.b, T(m.beta), m.c); });
               }},
          {.name = "dot products",
           .supported = one_matrix && rows_times_columns,
           .cost = cost.dot_products(),
           .run = [](const MatmulCall& m, void*) {
             dispatch_compute_float(m.c.dtype(), "matmul", [&]<class T>() {
               const Tensor b_columns = views::transpose(m.b, -2, -1);
               dot_products<T>(matrix_of<const T>(m.a, 0), matrix_of<const T>(b_columns, 0).t(), T(m.beta),
                               matrix_of<T>(m.c, 0));
             });
           }}};
}

void matmul_cpu(const Tensor& a, const Tensor& b, double beta, const Tensor& c) {
  if (c.numel() == 0) return;
  algorithm_cache().run(MatmulCall{a, b, c, beta}, matmul_cpu_candidates);
}

}  // namespace taper::ops
