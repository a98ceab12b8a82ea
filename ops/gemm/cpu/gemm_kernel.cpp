#include "taper/ops/gemm/cpu/gemm_kernel.h"  // spine 33 (docs/0-the-spine.md)

#include <algorithm>
#include <utility>

namespace taper::ops {
namespace {

/// Finishes the sums of a tile, kCols to a row, and stores the first columns: for tiles at the right edge.
template <class T>
[[gnu::noinline]] void finish_tile(const TileOutput<T>& out, int64_t rows, const T* sums) {
  for (int64_t i = 0; i < rows; ++i, sums += GemmTile<T>::kCols) {
    T* const place = out.rows[i] + out.column;
    for (int64_t j = 0; j < out.cols; ++j) {
      T sum = sums[j];
      if (out.accumulate) sum += place[j];
      if (out.bias) sum += out.bias[out.column + j];
      if (out.residual) sum += out.residual[i][out.column + j];
      if (out.relu) sum = sum < T(0) ? T(0) : sum;  // NaN stays NaN
      place[j] = sum;
    }
  }
  if (out.moments) out.moments.merge_rows(out.rows, rows, out.column, out.column + out.cols);
}

template <class T, PanelOrder kOrder, int kHeight>
void multiply_tile(const RowPanel<T>& panel, const T* __restrict b, int64_t depth, const TileOutput<T>& out,
                   const Prefetch<T>& prefetch) {
  using Tile = GemmTile<T>;
  using Vector = typename Simd<T>::Vector;
  constexpr int64_t kRowStep = kOrder == PanelOrder::kRows ? Tile::kRowStride : 1;
  const int64_t depth_step = kOrder == PanelOrder::kRows ? 1 : panel.step;
  const T* __restrict a = panel.data;
  // No prefetch wanted: point at b's first line, which is always valid.
  const T* next_columns = prefetch.columns.first ? prefetch.columns.first : b;
  const T* next_rows = prefetch.rows.first ? prefetch.rows.first : b;

  Vector sums[kHeight][2];
#pragma GCC unroll 16
  for (auto& row : sums) row[0] = row[1] = Vector{};
  for (int64_t k = 0; k < depth; ++k) {
    __builtin_prefetch(next_columns, 0, 2);
    __builtin_prefetch(next_rows, 0, 2);
    next_columns += prefetch.columns.step;
    next_rows += prefetch.rows.step;
    const Vector left = *reinterpret_cast<const Vector*>(b);
    const Vector right = *reinterpret_cast<const Vector*>(b + Tile::kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kHeight; ++i) {
      const Vector factor = a[i * kRowStep] - Vector{};  // a broadcast: x - 0 is x, bit for bit
      sums[i][0] += factor * left;
      sums[i][1] += factor * right;
    }
    a += depth_step;
    b += Tile::kCols;
  }

  if (out.cols == Tile::kCols) {
    // Each step visits the whole tile: each condition is tested once and the sums stay in registers.
    const auto for_each_vector = [&](auto&& visit) __attribute__((always_inline)) {
#pragma GCC unroll 16
      for (int i = 0; i < kHeight; ++i) {
        visit(i, sums[i][0], out.column);
        visit(i, sums[i][1], out.column + Tile::kLanes);
      }
    };
    if (out.accumulate) {
      for_each_vector(
          [&](int i, Vector& sum, int64_t column) { sum += Simd<T>::load(out.rows[i] + column); });
    }
    if (out.bias) {
      for_each_vector([&](int, Vector& sum, int64_t column) { sum += Simd<T>::load(out.bias + column); });
    }
    if (out.residual) {
      for_each_vector(
          [&](int i, Vector& sum, int64_t column) { sum += Simd<T>::load(out.residual[i] + column); });
    }
    if (out.relu) {
      for_each_vector([&](int, Vector& sum, int64_t) { sum = sum < 0 ? Vector{} : sum; });
    }
    if (out.moments) {
      Vector mean[2] = {}, square[2] = {};
#pragma GCC unroll 16
      for (const auto& row : sums) {
        mean[0] += row[0];
        mean[1] += row[1];
      }
      mean[0] *= T(1) / T(kHeight);
      mean[1] *= T(1) / T(kHeight);
#pragma GCC unroll 16
      for (const auto& row : sums) {
        square[0] += (row[0] - mean[0]) * (row[0] - mean[0]);
        square[1] += (row[1] - mean[1]) * (row[1] - mean[1]);
      }
      out.moments.merge(out.column, mean[0], square[0], kHeight);
      out.moments.merge(out.column + Tile::kLanes, mean[1], square[1], kHeight);
    }
    if (out.stream) {
      for_each_vector(
          [&](int i, Vector& sum, int64_t column) { Simd<T>::stream(out.rows[i] + column, sum); });
    } else {
      for_each_vector([&](int i, Vector& sum, int64_t column) { Simd<T>::store(out.rows[i] + column, sum); });
    }
    return;
  }
  alignas(kVectorBytes) T tile[kHeight * Tile::kCols];
#pragma GCC unroll 16
  for (int i = 0; i < kHeight; ++i) {
    auto* const row = reinterpret_cast<Vector*>(tile + i * Tile::kCols);
    row[0] = sums[i][0];
    row[1] = sums[i][1];
  }
  finish_tile(out, kHeight, tile);
}

template <class T, PanelOrder kOrder, int... kHeights>
void multiply_tile(const RowPanel<T>& a, const T* b, int64_t depth, const TileOutput<T>& out,
                   const Prefetch<T>& prefetch, std::integer_sequence<int, kHeights...>) {
  using Function = void (*)(const RowPanel<T>&, const T*, int64_t, const TileOutput<T>&, const Prefetch<T>&);
  static constexpr Function by_height[] = {multiply_tile<T, kOrder, kHeights + 1>...};
  by_height[a.rows - 1](a, b, depth, out, prefetch);
}

}  // namespace

template <class T>
void multiply_panels(const RowPanel<T>& a, const T* b, int64_t depth, const TileOutput<T>& out,
                     const Prefetch<T>& prefetch) {
  constexpr auto heights = std::make_integer_sequence<int, int(GemmTile<T>::kRows)>();
  if (a.order == PanelOrder::kRows) {
    multiply_tile<T, PanelOrder::kRows>(a, b, depth, out, prefetch, heights);
  } else {
    multiply_tile<T, PanelOrder::kColumns>(a, b, depth, out, prefetch, heights);
  }
}

template void multiply_panels(const RowPanel<float>&, const float*, int64_t, const TileOutput<float>&,
                              const Prefetch<float>&);
template void multiply_panels(const RowPanel<double>&, const double*, int64_t, const TileOutput<double>&,
                              const Prefetch<double>&);

}  // namespace taper::ops
