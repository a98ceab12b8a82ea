#include "taper/ops/gemm/cpu/gemm.h"

#include <algorithm>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/gemm/cpu/gemm_pack.h"

namespace taper::ops {
namespace {

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

/// Rows of c = a * (columns of the packed b) + beta * c.
template <class T>
void multiply_block(const Matrix<const T>& a, const PackedColumns<T>& b, int64_t first_col, int64_t cols,
                    std::span<const DepthBlock> depth, T beta, const Matrix<T>& c) {
  if (beta != T(0)) scale_rows(c.block(0, first_col, c.rows, cols), beta);
  std::vector<T*> rows(size_t(a.rows));
  for (int64_t i = 0; i < a.rows; ++i) rows[size_t(i)] = c.data + i * c.stride;
  multiply_rows<T>(panel_order(a), a.rows, b, first_col, cols, depth,
                   {.rows = rows.data(), .accumulate = beta != T(0)}, {}, [&](size_t block, T* panels) {
                     pack_rows(a.block(0, depth[block].first, a.rows, depth[block].length), panels);
                   });
}

template <class T>
std::vector<DepthBlock> depth_blocks(int64_t depth) {
  std::vector<DepthBlock> blocks;
  append_depth_blocks(0, depth, GemmTile<T>::kDepth, blocks);
  return blocks;
}

}  // namespace

template <class T>
GemmBlocks gemm_blocks(int64_t m, int64_t n, int64_t k) {
  // Blocks are so large that packing costs a few percent of multiplying, and so small that a's share stays in
  // the second-level cache. If the product allows it, there are enough blocks for many cores.
  using Tile = GemmTile<T>;
  constexpr int64_t kEnough = 16, kFewestFlops = int64_t(1) << 20;
  int64_t row_panels = std::clamp<int64_t>(ceil_div(m, Tile::kRows), 1, 8);
  int64_t col_panels = std::clamp<int64_t>(ceil_div(n, Tile::kCols), 1, 16);
  const auto too_few = [&] {
    const int64_t rows = row_panels * Tile::kRows, cols = col_panels * Tile::kCols;
    return ceil_div(m, rows) * ceil_div(n, cols) < kEnough && 2 * rows * cols * k > kFewestFlops;
  };
  while (too_few() && col_panels > 2) col_panels = ceil_div(col_panels, 2);
  while (too_few() && row_panels > 2) row_panels = ceil_div(row_panels, 2);
  const auto equal_parts = [](int64_t size, int64_t panels, int64_t panel, int64_t& count, int64_t& part) {
    count = ceil_div(size, panels * panel);
    part = std::max<int64_t>(ceil_div(size, std::max<int64_t>(count, 1)), 1);
  };
  GemmBlocks blocks;
  equal_parts(m, row_panels, Tile::kRows, blocks.count_rows, blocks.rows);
  equal_parts(n, col_panels, Tile::kCols, blocks.count_cols, blocks.cols);
  blocks.cols = round_up(blocks.cols, Tile::kCols);
  return blocks;
}

template <class T>
void gemm_block(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c) {
  if (c.rows == 0 || c.cols == 0) return;
  if (a.cols == 0) return scale_rows(c, beta);
  multiply_block<T>(a, PackedColumns<T>(b), 0, c.cols, depth_blocks<T>(a.cols), beta, c);
}

template <class T>
void gemm(const Matrix<const T>& a, const Matrix<const T>& b, T beta, const Matrix<T>& c) {
  if (c.rows == 0 || c.cols == 0) return;
  if (a.cols == 0) return scale_rows(c, beta);
  const GemmBlocks blocks = gemm_blocks<T>(c.rows, c.cols, a.cols);
  const std::vector<DepthBlock> depth = depth_blocks<T>(a.cols);
  PackedColumns<T> packed(a.cols, c.cols);
  parallel_chunks(packed.panels(), [&](int64_t panel) { packed.pack_panel(b, panel); });
  parallel_chunks(blocks.count_rows * blocks.count_cols, [&](int64_t chunk) {
    const int64_t row = chunk / blocks.count_cols * blocks.rows, rows = std::min(blocks.rows, c.rows - row);
    const int64_t col = chunk % blocks.count_cols * blocks.cols, cols = std::min(blocks.cols, c.cols - col);
    if (rows <= 0 || cols <= 0) return;
    multiply_block<T>(a.block(row, 0, rows, a.cols), packed, col, cols, depth, beta,
                      c.block(row, 0, rows, c.cols));
  });
}

template GemmBlocks gemm_blocks<float>(int64_t, int64_t, int64_t);
template GemmBlocks gemm_blocks<double>(int64_t, int64_t, int64_t);
template void gemm_block(const Matrix<const float>&, const Matrix<const float>&, float, const Matrix<float>&);
template void gemm_block(const Matrix<const double>&, const Matrix<const double>&, double,
                         const Matrix<double>&);
template void gemm(const Matrix<const float>&, const Matrix<const float>&, float, const Matrix<float>&);
template void gemm(const Matrix<const double>&, const Matrix<const double>&, double, const Matrix<double>&);

}  // namespace taper::ops
