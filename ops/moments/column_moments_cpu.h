#pragma once
// Mean and variance of each column of a matrix, gathered by the code that writes its rows, while they are in
// registers or the nearest cache. A convolution in channels_last memory writes such a matrix, one row for
// each pixel and one column for each channel, and batch norm needs its columns' moments.
//
// A few rows at a time are summed in two passes: first their mean, then their squared distances from it. So
// nothing cancels however far from zero a column lies. Such moments merge by Chan, Golub and LeVeque,
// "Updating formulae and a pairwise algorithm for computing sample variances", 1979: first within a chunk of
// rows, here, then over all chunks (chunk_moments_cpu.h).

#include <type_traits>

#include "taper/ops/simd.h"

namespace taper::ops {

/// The moments of the columns of one chunk of rows so far.
template <class T>
struct ColumnMoments {
  T* means = nullptr;    ///< one for each column
  T* squares = nullptr;  ///< sums of squared distances from the means
  int64_t rows = 0;      ///< merged so far; with 0, the memory above holds nothing yet

  explicit operator bool() const { return means != nullptr; }

  /// Adds the moments of `count` other rows, for as many columns from `column` on as a V has.
  template <class V>
  [[gnu::always_inline]] void merge(int64_t column, V mean, V square, int64_t count) const {
    if (rows > 0) {
      const T share = T(count) / T(rows + count);
      const V old = load<V>(means + column), distance = mean - old;
      mean = old + distance * share;
      square += load<V>(squares + column) + distance * distance * (T(rows) * share);
    }
    store(means + column, mean);
    store(squares + column, square);
  }

  /// Adds the columns [first, end) of `count` rows, at least one. `rows` does not change.
  void merge_rows(const T* const* from, int64_t count, int64_t first, int64_t end) const {
    int64_t column = first;
    for (; column + Simd<T>::kLanes <= end; column += Simd<T>::kLanes)
      merge_rows_of<typename Simd<T>::Vector>(from, count, column);
    for (; column < end; ++column) merge_rows_of<T>(from, count, column);
  }

 private:
  template <class V>
  static V load(const T* from) {
    if constexpr (std::is_same_v<V, T>)
      return *from;
    else
      return Simd<T>::load(from);
  }
  static void store(T* to, T value) { *to = value; }
  static void store(T* to, typename Simd<T>::Vector value) { Simd<T>::store(to, value); }

  template <class V>
  void merge_rows_of(const T* const* from, int64_t count, int64_t column) const {
    V mean{}, square{};
    for (int64_t i = 0; i < count; ++i) mean += load<V>(from[i] + column);
    mean *= T(1) / T(count);
    for (int64_t i = 0; i < count; ++i) {
      const V distance = load<V>(from[i] + column) - mean;
      square += distance * distance;
    }
    merge(column, mean, square, count);
  }
};

}  // namespace taper::ops
