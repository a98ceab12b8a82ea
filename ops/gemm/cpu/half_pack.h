#pragma once
// Packs matrices of 16-bit numbers into the panels of half_kernel.h. K: a kernel. T: Half or BFloat16.

#include <algorithm>
#include <cstring>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/scratch.h"
#include "taper/ops/gemm/cpu/half_kernel.h"
#include "taper/ops/gemm/cpu/transpose_vectors.h"
#include "taper/ops/simd.h"

namespace taper::ops {

/// Units of a matrix whose rows are contiguous. The rows are given by pointers.
template <class K, class T>
struct UnitLoader {
  static constexpr int64_t kLanes = Simd<float>::kLanes;

  /// Returns one unit from each of kLanes columns: numbers from + 0, 1, ... of kUnit rows.
  static FloatVector down(const T* const* rows, int64_t column) {
    if constexpr (K::kUnit == 1) return Simd<float>::load(rows[0] + column);
    half_vectors::Words first, second;
    std::memcpy(&first, rows[0] + column, sizeof first);
    std::memcpy(&second, rows[1] + column, sizeof second);
    return FloatVector(half_vectors::upper_halves(first) >> 16 | half_vectors::upper_halves(second));
  }
  /// Returns kLanes units of one row.
  static FloatVector along(const T* row) {
    if constexpr (K::kUnit == 1) return Simd<float>::load(row);
    FloatVector pairs;
    std::memcpy(&pairs, row, sizeof pairs);
    return pairs;
  }
  /// down(), with zeros beyond `count` rows and `columns` columns.
  static FloatVector down_edge(const T* const* rows, int64_t count, int64_t column, int64_t columns) {
    T square[K::kUnit][kLanes] = {};
    const T* pointers[K::kUnit];
    for (int64_t i = 0; i < K::kUnit; ++i) {
      pointers[i] = square[i];
      if (i < count) std::copy_n(rows[i] + column, std::clamp<int64_t>(columns, 0, kLanes), square[i]);
    }
    return down(pointers, 0);
  }
  /// along(), with zeros beyond `count` numbers.
  static FloatVector along_edge(const T* row, int64_t count) {
    T units[kLanes * K::kUnit] = {};
    std::copy_n(row, std::clamp<int64_t>(count, 0, kLanes * K::kUnit), units);
    return along(units);
  }
};

/// Copies `count` numbers, at most kDepth, into a row of a panel of a. Zeros follow at least up to a multiple
/// of kDepthStep.
template <class K, class T>
void pack_row(const T* from, int64_t count, typename K::Element* to) {
  using Loader = UnitLoader<K, T>;
  constexpr int64_t kStep = Loader::kLanes * K::kUnit;
  for (int64_t k = 0; k < round_up(count, K::kDepthStep); k += kStep) {
    Simd<float>::store(reinterpret_cast<float*>(to + k), k + kStep <= count
                                                             ? Loader::along(from + k)
                                                             : Loader::along_edge(from + k, count - k));
  }
}

/// Packs a block of `depth` rows, read downwards, into rows of a panel of a: column first + i of the matrix
/// becomes row i, for i < count.
template <class K, class T>
void pack_transposed(const T* const* rows, int64_t depth, int64_t first, int64_t count,
                     typename K::Element* to) {
  using Loader = UnitLoader<K, T>;
  constexpr int64_t kLanes = Loader::kLanes, kStep = kLanes * K::kUnit;
  for (int64_t k = 0; k < round_up(depth, K::kDepthStep); k += kStep) {
    for (int64_t column = 0; column < count; column += kLanes) {
      const int64_t columns = std::min(kLanes, count - column);
      FloatVector square[kLanes];
      if (columns == kLanes && k + kStep <= depth) {
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i)
          square[i] = Loader::down(rows + k + i * K::kUnit, first + column);
      } else {
        for (int64_t i = 0; i < kLanes; ++i) {
          const int64_t row = k + i * K::kUnit;
          square[i] = Loader::down_edge(rows + row, depth - row, first + column, columns);
        }
      }
      transpose_vectors(square);
      for (int64_t i = 0; i < columns; ++i)
        Simd<float>::store(reinterpret_cast<float*>(to + (column + i) * K::kRowStride + k), square[i]);
    }
  }
}

/// Packs `depth` rows of `columns` numbers, at most kCols, into a panel of b. Zeros follow up to kCols columns
/// and up to row `end`, a multiple of kUnit.
template <class K, class T>
void pack_panel(const T* const* rows, int64_t depth, int64_t end, int64_t column, int64_t columns,
                typename K::Element* out) {
  using Loader = UnitLoader<K, T>;
  auto* to = reinterpret_cast<float*>(out);
  for (int64_t k = 0; k < end; k += K::kUnit) {
    const bool whole = columns == K::kCols && k + K::kUnit <= depth;
    for (int64_t j = 0; j < K::kCols; j += Loader::kLanes, to += Loader::kLanes) {
      Simd<float>::store(to, whole ? Loader::down(rows + k, column + j)
                                   : Loader::down_edge(rows + k, depth - k, column + j, columns - j));
    }
  }
}

/// Packs a panel of b whose columns are contiguous, `stride` apart, as pack_panel() does.
template <class K, class T>
void pack_panel_transposed(const T* from, int64_t stride, int64_t depth, int64_t end, int64_t columns,
                           typename K::Element* out) {
  using Loader = UnitLoader<K, T>;
  constexpr int64_t kLanes = Loader::kLanes, kStep = kLanes * K::kUnit;
  auto* const to = reinterpret_cast<float*>(out);
  const int64_t units = end / K::kUnit;
  for (int64_t first = 0; first < K::kCols; first += kLanes) {
    for (int64_t k = 0; k < units; k += kLanes) {
      const int64_t row = k * K::kUnit;
      FloatVector square[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) {
        const T* const column = from + (first + j) * stride + row;
        const bool whole = row + kStep <= depth;
        square[j] = first + j >= columns ? FloatVector{}
                    : whole              ? Loader::along(column)
                                         : Loader::along_edge(column, depth - row);
      }
      transpose_vectors(square);
      for (int64_t i = 0; i < std::min(kLanes, units - k); ++i)
        Simd<float>::store(to + (k + i) * K::kCols + first, square[i]);
    }
  }
}

/// All of b in panels of kCols columns. Behind the last row lie zeros, because a block of the depth that ends
/// there is multiplied in steps of kDepthStep.
template <class K>
class PackedHalves {
 public:
  using Element = typename K::Element;

  PackedHalves(int64_t depth, int64_t cols)
      : depth_(depth), cols_(cols), memory_(panels() * padded_depth() * K::kCols) {}

  template <class T>
  void pack_panel(int64_t i, const T* const* rows) const {
    ops::pack_panel<K>(rows, depth_, padded_depth(), i * K::kCols, panel_cols(i), panel(i));
  }
  /// from: the panel's first column.
  template <class T>
  void pack_panel_transposed(int64_t i, const T* from, int64_t stride) const {
    ops::pack_panel_transposed<K>(from, stride, depth_, padded_depth(), panel_cols(i), panel(i));
  }

  int64_t panels() const { return ceil_div(cols_, K::kCols); }
  Element* panel(int64_t i) const { return memory_.data() + i * padded_depth() * K::kCols; }

 private:
  int64_t padded_depth() const { return round_up(depth_ + K::kDepthStep - 1, K::kUnit); }
  int64_t panel_cols(int64_t i) const { return std::min(K::kCols, cols_ - i * K::kCols); }

  int64_t depth_, cols_;
  Scratch<Element> memory_;
};

}  // namespace taper::ops
