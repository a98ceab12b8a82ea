#pragma once
// Matrix multiplication on the CPU: how matrices are described, and how a product is cut into blocks for the
// threads. gemm_pack.h copies the operands of a block into panels, gemm_kernel.h multiplies them. PyTorch's
// counterpart: ATen/native/CPUBlas.h.

#include <cstdint>

namespace taper::ops {

/// A matrix in memory: element (i, j) is data[i * stride + j], or data[j * stride + i] when transposed.
template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;
  bool transposed = false;

  /// The transposed view: the memory read as cols x rows.
  Matrix t() const { return {data, cols, rows, stride, !transposed}; }
  /// The part of `block_rows` x `block_cols` elements that begins at (row, col).
  Matrix block(int64_t row, int64_t col, int64_t block_rows, int64_t block_cols) const {
    const int64_t offset = transposed ? col * stride + row : row * stride + col;
    return {data + offset, block_rows, block_cols, stride, transposed};
  }
};

/// c = a * b + beta * c on the calling thread; beta = 0 overwrites whatever c held, NaN included. T: float or
/// double. c is not transposed. Sizes may be 0.
template <class T>
void gemm_block(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c);

/// gemm_block() over all threads. The blocks depend on the sizes alone, so the result is the same bits for
/// any number of threads.
template <class T>
void gemm(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c);

/// One thread's piece of an m x n result with inner size k. Full ones: a multiple of GemmTile::kCols columns.
struct GemmBlocks {
  int64_t rows = 0;  ///< of a full block
  int64_t cols = 0;  ///< of a full block
  int64_t count_rows = 0;
  int64_t count_cols = 0;
};
template <class T>
GemmBlocks gemm_blocks(int64_t m, int64_t n, int64_t k);

}  // namespace taper::ops
