#pragma once  // spine 31 (docs/0-the-spine.md)
// Packs matrices into the panels that gemm_kernel.h multiplies, and loops over panels.

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/scratch.h"
#include "taper/ops/gemm/cpu/gemm.h"
#include "taper/ops/gemm/cpu/gemm_kernel.h"

namespace taper::ops {

/// A number of rows, cut into panels of nearly the same height.
struct PanelCut {
  int64_t rows = 0;
  int64_t panels = 0;

  template <class T>
  static PanelCut of(int64_t rows) {
    return {rows, ceil_div(rows, GemmTile<T>::kRows)};
  }
  int64_t first(int64_t panel) const { return panel * rows / panels; }
  int64_t height(int64_t panel) const { return first(panel + 1) - first(panel); }
};

/// to[j * to_stride + i] = from[i * from_stride + j] for a square block of one vector's width.
template <class T>
void transpose_block(const T* from, int64_t from_stride, T* to, int64_t to_stride);

/// Copies one column's part of a panel of PanelOrder::kColumns: up to kRows elements.
template <class T>
void copy_panel_column(const T* from, int64_t height, T* to) {
  // Two copies of a fixed size that overlap are faster than one of unknown size.
  if (height >= 8) {
    std::memcpy(to, from, 8 * sizeof(T));
    std::memcpy(to + height - 8, from + height - 8, 8 * sizeof(T));
  } else if (height >= 4) {
    std::memcpy(to, from, 4 * sizeof(T));
    std::memcpy(to + height - 4, from + height - 4, 4 * sizeof(T));
  } else {
    for (int64_t i = 0; i < height; ++i) to[i] = from[i];
  }
}

/// Packs a, of at most kDepth columns, into the panels of PanelCut::of(a.rows), kPanel elements apart.
/// panel_order() gives their order, which needs no transposing.
template <class T>
void pack_rows(const Matrix<const T>& a, T* out);

template <class T>
PanelOrder panel_order(const Matrix<const T>& a) {
  return a.transposed ? PanelOrder::kColumns : PanelOrder::kRows;
}

/// Packs b, of at most kCols columns, into one panel. Missing columns become 0.
template <class T>
void pack_columns(const Matrix<const T>& b, T* out);

/// All of b in panels of kCols columns. `pack(j, count, panel)` fills the panel of columns j to j + count.
template <class T>
class PackedColumns {
 public:
  PackedColumns(int64_t depth, int64_t cols)
      : PackedColumns(depth, cols, Scratch<T>(elements(depth, cols)), 0) {}
  /// Uses shared memory from element `offset` on, a multiple of a vector's lanes.
  PackedColumns(int64_t depth, int64_t cols, const Scratch<T>& memory, int64_t offset)
      : depth_(depth), cols_(cols), memory_(memory), data_(memory.data() + offset) {}
  explicit PackedColumns(const Matrix<const T>& b) : PackedColumns(b.rows, b.cols) {
    for (int64_t i = 0; i < panels(); ++i) pack_panel(b, i);
  }

  void pack_panel(const Matrix<const T>& b, int64_t i) {
    const int64_t col = i * GemmTile<T>::kCols;
    pack_columns(b.block(0, col, depth_, std::min(GemmTile<T>::kCols, cols_ - col)), panel(i));
  }

  int64_t depth() const { return depth_; }
  int64_t cols() const { return cols_; }
  int64_t panels() const { return panels(cols_); }
  T* panel(int64_t i) const { return data_ + i * depth_ * GemmTile<T>::kCols; }
  /// Elements of all panels.
  static int64_t elements(int64_t depth, int64_t cols) { return panels(cols) * depth * GemmTile<T>::kCols; }

 private:
  static int64_t panels(int64_t cols) { return ceil_div(cols, GemmTile<T>::kCols); }

  int64_t depth_, cols_;
  Scratch<T> memory_;
  T* data_;
};

/// A stretch of the depth: at most kDepth rows of b.
struct DepthBlock {
  int64_t first = 0;
  int64_t length = 0;
};

/// Appends [first, first + length) in nearly equal blocks of at most `longest`, if possible multiples of
/// `step`.
void append_depth_blocks(int64_t first, int64_t length, int64_t longest, std::vector<DepthBlock>& blocks,
                         int64_t step = 16);

/// Prefetches kCols elements, starting at `column`, of each of `count` rows, which the next tile needs. Into
/// the second-level cache: in the first, rows a power of two apart would evict b's panel.
template <class T>
void prefetch_rows(const T* const* rows, int64_t count, int64_t column) {
  for (int64_t i = 0; i < count; ++i) {
    __builtin_prefetch(rows[i] + column, 0, 2);
    __builtin_prefetch(rows[i] + column + GemmTile<T>::kLanes, 0, 2);
  }
}

/// What a thread reads next: b's next panel, and the elements from which it packs rows of a.
template <class T>
struct Next {
  const T* panel = nullptr;
  const T* source = nullptr;
  int64_t source_size = 0;
};

/// Multiplies all panels of a's rows by columns first_col to first_col + cols of a packed b (first_col a
/// multiple of kCols), over one stretch of the depth. panel(i) is panel i of a. out describes the whole
/// result: row i and column j of the product go to out.rows[i][out.column + j].
template <class T, class Panel>
void multiply_depth_block(const PanelCut& cut, Panel&& panel, const PackedColumns<T>& b, int64_t first_col,
                          int64_t cols, DepthBlock depth, const TileOutput<T>& out, const Next<T>& after) {
  constexpr int64_t kCols = GemmTile<T>::kCols;
  const int64_t end_col = first_col + cols, column = out.column;
  // What each tile prefetches: parts of b's next panel and of a's source.
  const int64_t panel_share = depth.length * kCols / cut.panels;
  const int64_t source_share = after.source_size / (cut.panels * ceil_div(cols, kCols));
  const int64_t source_step = ceil_div(source_share, depth.length);
  const T* source = after.source;
  if (out.residual) prefetch_rows(out.residual, cut.height(0), column + first_col);
  TileOutput<T> tile = out;
  for (int64_t col = first_col; col < end_col; col += kCols) {
    const bool is_last = col + kCols >= end_col;
    const T* const b_panel = b.panel(col / kCols) + depth.first * kCols;
    const T* const next_panel = is_last ? after.panel : b_panel + b.depth() * kCols;
    tile.column = column + col;
    tile.cols = std::min(kCols, end_col - col);
    for (int64_t i = 0; i < cut.panels; ++i) {
      tile.rows = out.rows + cut.first(i);
      tile.moments.rows = cut.first(i);
      if (out.residual) {
        tile.residual = out.residual + cut.first(i);
        if (i + 1 < cut.panels) {
          prefetch_rows(out.residual + cut.first(i + 1), cut.height(i + 1), tile.column);
        } else if (!is_last) {
          prefetch_rows(out.residual, cut.height(0), tile.column + kCols);
        }
      }
      Prefetch<T> next;
      if (next_panel) next.columns = {next_panel + i * panel_share, kCols / cut.panels};
      if (source) next.rows = {source, source_step};
      source += source_share;
      multiply_panels<T>(panel(i), b_panel, depth.length, tile, next);
    }
  }
}

/// One thread's share of a product: rows of a times columns first_col to first_col + cols (first_col a
/// multiple of kCols) of a packed b, summed over `depth`. pack(block_index, panels) packs a's rows for one
/// depth block. `out` describes the result. Its accumulate, bias, residual, relu and moments (no rows merged
/// yet) apply to the whole sum.
template <class T, class Pack>
void multiply_rows(PanelOrder order, int64_t rows, const PackedColumns<T>& b, int64_t first_col, int64_t cols,
                   std::span<const DepthBlock> depth, const TileOutput<T>& out, const Next<T>& after,
                   Pack&& pack) {
  using Tile = GemmTile<T>;
  const PanelCut cut = PanelCut::of<T>(rows);
  const Scratch<T> panels(cut.panels * Tile::kPanel);
  const auto panel = [&](int64_t i) {
    return RowPanel<T>{panels.data() + i * Tile::kPanel, cut.height(i), order};
  };
  for (size_t d = 0; d < depth.size(); ++d) {
    pack(d, panels.data());
    const bool is_last = d + 1 == depth.size();
    const TileOutput<T> part = {.rows = out.rows,
                                .accumulate = out.accumulate || d > 0,
                                .bias = is_last ? out.bias : nullptr,
                                .residual = is_last ? out.residual : nullptr,
                                .relu = is_last && out.relu,
                                .stream = is_last && out.stream,
                                .moments = is_last ? out.moments : ColumnMoments<T>()};
    const int64_t share = after.source_size / int64_t(depth.size());
    const Next<T> next = {
        is_last ? after.panel : b.panel(first_col / Tile::kCols) + depth[d + 1].first * Tile::kCols,
        after.source ? after.source + int64_t(d) * share : nullptr, share};
    multiply_depth_block<T>(cut, panel, b, first_col, cols, depth[d], part, next);
  }
}

}  // namespace taper::ops
