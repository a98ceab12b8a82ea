#include "taper/ops/matmul/gemm_cpu.h"

// GCC 12 takes the _mm512_undefined_ps() of its own AVX-512 header for a mistake (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <Eigen/Core>
#include <algorithm>

#include "taper/core/parallel.h"

namespace taper::ops {
namespace {

template <class T, int kOrder>
using EigenMap =
    Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, kOrder>, 0, Eigen::OuterStride<>>;
template <class T, int kOrder>
using ConstEigenMap =
    Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, kOrder>, 0, Eigen::OuterStride<>>;

template <int kOrderA, int kOrderB, class T>
void multiply_add(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c) {
  const ConstEigenMap<T, kOrderA> eigen_a(a.data, a.rows, a.cols, Eigen::OuterStride<>(a.stride));
  const ConstEigenMap<T, kOrderB> eigen_b(b.data, b.rows, b.cols, Eigen::OuterStride<>(b.stride));
  EigenMap<T, Eigen::RowMajor> eigen_c(c.data, c.rows, c.cols, Eigen::OuterStride<>(c.stride));
  eigen_c.noalias() += eigen_a * eigen_b;
}

template <class T>
void scale_rows(const Matrix<T>& c, T beta) {
  if (beta == T(1)) return;
  for (int64_t i = 0; i < c.rows; ++i) {
    T* row = c.data + i * c.stride;
    if (beta == T(0)) {
      std::fill(row, row + c.cols, T(0));
    } else {
      for (int64_t j = 0; j < c.cols; ++j) row[j] *= beta;
    }
  }
}

}  // namespace

template <class T>
void gemm_block(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c) {
  constexpr int kRow = Eigen::RowMajor, kCol = Eigen::ColMajor;
  scale_rows(c, beta);
  if (a.cols == 0 || c.rows == 0 || c.cols == 0) return;
  if (!a.transposed && !b.transposed) multiply_add<kRow, kRow>(a, b, c);
  if (!a.transposed && b.transposed) multiply_add<kRow, kCol>(a, b, c);
  if (a.transposed && !b.transposed) multiply_add<kCol, kRow>(a, b, c);
  if (a.transposed && b.transposed) multiply_add<kCol, kCol>(a, b, c);
}

GemmBlocks gemm_blocks(int64_t m, int64_t n, int64_t k) {
  // Small enough that a few dozen cores find work in a layer of ResNet-50, large enough that packing the
  // operands of a block (which Eigen does anew for each) stays a few percent of multiplying them.
  constexpr int64_t kFlops = int64_t(16) << 20;
  constexpr int64_t kFewestRows = 64, kFewestCols = 128;
  int64_t rows = std::max<int64_t>(m, 1), cols = std::max<int64_t>(n, 1);
  while (2 * rows * cols * k > kFlops && (rows > kFewestRows || cols > kFewestCols)) {
    int64_t& longer = rows * kFewestCols > cols * kFewestRows ? rows : cols;
    longer = ((longer + 1) / 2 + 15) / 16 * 16;
  }
  return {rows, cols, (m + rows - 1) / rows, (n + cols - 1) / cols};
}

template <class T>
void gemm(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c) {
  const GemmBlocks blocks = gemm_blocks(c.rows, c.cols, a.cols);
  parallel_chunks(blocks.count_rows * blocks.count_cols, [&](int64_t chunk) {
    const int64_t row = chunk / blocks.count_cols * blocks.rows;
    const int64_t col = chunk % blocks.count_cols * blocks.cols;
    const int64_t rows = std::min(blocks.rows, c.rows - row);
    const int64_t cols = std::min(blocks.cols, c.cols - col);
    gemm_block<T>(a.block(row, 0, rows, a.cols), b.block(0, col, a.cols, cols), beta,
                  c.block(row, col, rows, cols));
  });
}

template void gemm_block(const Matrix<const float>&, const Matrix<const float>&, float, const Matrix<float>&);
template void gemm_block(const Matrix<const double>&, const Matrix<const double>&, double,
                         const Matrix<double>&);
template void gemm(const Matrix<const float>&, const Matrix<const float>&, float, const Matrix<float>&);
template void gemm(const Matrix<const double>&, const Matrix<const double>&, double, const Matrix<double>&);

}  // namespace taper::ops
