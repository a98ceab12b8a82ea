#include "taper/ops/matmul/matmul_cpu.h"

#include <algorithm>

#include "taper/core/parallel.h"
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

}  // namespace

bool is_matrix_layout(const Tensor& x) {
  return layout_of(x) != Layout::kNeither;
}

void matmul_cpu(const Tensor& a, const Tensor& b, double beta, const Tensor& c) {
  dispatch_compute_float(c.dtype(), "matmul", [&]<class T>() { multiply<T>(a, b, T(beta), c); });
}

}  // namespace taper::ops
