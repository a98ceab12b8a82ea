#pragma once  // spine 32 (docs/0-the-spine.md)
// The innermost part of every matrix product on the CPU: a tile of the result that lives in registers while a
// thin panel of a and a thin panel of b stream past it.
//
//            b panel: depth x kCols
//            +-+
//            | |
//            | |
//   +-----+  +-+
//   |  a  |  |c|  <- up to kRows x kCols
//   +-----+  +-+
//
// Panels are packed: copied into the order in which the kernel reads them. Each load is then sequential and
// comes from the first- or second-level cache. The caller that packs decides what the matrix is: a
// convolution packs its columns straight from the image (ops/conv/cpu/implicit_gemm.cpp).
//
// Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008. Written with the
// compiler's vector extensions, which become AVX-512, AVX2 or SSE instructions by the build's -march. The sum
// over the depth runs in order, so results do not depend on how the rest of the product was cut.

#include "taper/ops/moments/column_moments_cpu.h"
#include "taper/ops/simd.h"

namespace taper::ops {

template <class T>
struct GemmTile {
  static constexpr int64_t kLanes = Simd<T>::kLanes;
  /// As many rows as fit into 32 or 16 registers, with two accumulators each.
  static constexpr int64_t kRows = kVectorBytes == 64 ? 14 : 6;
  static constexpr int64_t kCols = 2 * kLanes;
  /// The largest depth of a pair of panels: this much of b stays in the first-level cache.
  static constexpr int64_t kDepth = 32768 / (kCols * int64_t(sizeof(T)));
  /// Distance of the rows of a PanelOrder::kRows panel. At a power of two they would compete for cache sets.
  static constexpr int64_t kRowStride = kDepth + kLanes;
  /// Elements of a packed panel of a, in either order.
  static constexpr int64_t kPanel = kRows * kRowStride;
};

/// How a panel of a lies in memory.
enum class PanelOrder {
  kRows,     ///< element (i, k) at i * kRowStride + k: packed from an a whose rows are contiguous
  kColumns,  ///< at k * step + i: an a whose columns are contiguous, in place or packed with step kRows
};

/// Where the sums of a tile go, and what is done to them before they are stored.
template <class T>
struct TileOutput {
  T* const* rows = nullptr;            ///< each row of the result, from its column 0
  int64_t column = 0;                  ///< the tile's first column
  int64_t cols = GemmTile<T>::kCols;   ///< fewer at the right edge
  bool accumulate = false;             ///< add to the result's old values
  const T* bias = nullptr;             ///< one row, added to each row
  const T* const* residual = nullptr;  ///< one row for each row, added to it
  bool relu = false;                   ///< then clamp at 0
  bool stream = false;                 ///< store past the caches; rows begin on multiples of kVectorBytes
  ColumnMoments<T> moments = {};       ///< gathers those of what is stored, from column 0 on
};

/// A panel of a: up to kRows rows.
template <class T>
struct RowPanel {
  const T* data = nullptr;
  int64_t rows = 0;
  PanelOrder order = PanelOrder::kRows;
  int64_t step = GemmTile<T>::kRows;  ///< for PanelOrder::kColumns
};

/// What a tile prefetches into the second-level cache: two cache lines for each step of the depth, each
/// `step` elements after the previous one. The prefetches are spread out, because a burst would delay the
/// tile's own loads.
template <class T>
struct Prefetch {
  struct Lines {
    const T* first = nullptr;  ///< null: none
    int64_t step = 0;
  };
  Lines columns;  ///< of b's next panel
  Lines rows;     ///< the source of a's next panels
};

/// The product of a panel of a with a packed panel of b over `depth`. b: element (k, j) at k * kCols + j,
/// aligned to kVectorBytes.
template <class T>
void multiply_panels(const RowPanel<T>& a, const T* b, int64_t depth, const TileOutput<T>& out,
                     const Prefetch<T>& prefetch = {});

}  // namespace taper::ops
