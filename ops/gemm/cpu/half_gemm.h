#pragma once
// Matrix products of 16-bit numbers on the CPU. The sums of a tile stay f32 until they are complete; then the
// epilogue finishes and rounds them once.

#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "taper/ops/gemm/cpu/gemm_pack.h"
#include "taper/ops/gemm/cpu/half_pack.h"
#include "taper/ops/moments/column_moments_cpu.h"

namespace taper::ops {

/// Where the sums of a product go, and what is done to them before they are rounded to T and stored: float,
/// Half or BFloat16.
template <class T>
struct HalfOutput {
  T* const* rows = nullptr;            ///< each row of the result, from its column 0
  int64_t column = 0;                  ///< the product's first column
  const float* bias = nullptr;         ///< one row, added to each row
  const T* const* residual = nullptr;  ///< one row for each row, added to it
  float residual_factor = 1;           ///< multiplies the residual
  bool relu = false;                   ///< then clamp at 0
  ColumnMoments<float> moments = {};   ///< gathers those of what is stored, from column 0 on
};

/// c = a * b + beta * c over all threads. beta = 0 overwrites whatever c held, NaN included. T: Half or
/// BFloat16; Out: T or float. Sizes may be 0. The result is the same bits for any number of threads.
template <class K, class T, class Out>
void gemm_half(const K& kernel, const Matrix<const T>& a, const Matrix<const T>& b, float beta,
               const Matrix<Out>& c);

/// One thread's piece of an m x n result with inner size k.
template <class K>
GemmBlocks half_blocks(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kEnough = 8, kFewestFlops = int64_t(1) << 22;
  int64_t row_panels = std::clamp<int64_t>(ceil_div(m, K::kRows), 1, 8);
  int64_t col_panels = std::clamp<int64_t>(ceil_div(n, K::kCols), 1, 16);
  const auto too_few = [&] {
    const int64_t rows = row_panels * K::kRows, cols = col_panels * K::kCols;
    return ceil_div(m, rows) * ceil_div(n, cols) < kEnough && 2 * rows * cols * k > kFewestFlops;
  };
  // Each block packs its rows of a and reads its columns of b, which is cheaper.
  for (const int64_t fewest : {4, 2}) {
    while (too_few() && row_panels > fewest) row_panels = ceil_div(row_panels, 2);
    while (too_few() && col_panels > fewest) col_panels = ceil_div(col_panels, 2);
  }
  const auto equal_parts = [](int64_t size, int64_t most, int64_t step) {
    return std::max(round_up(ceil_div(size, std::max<int64_t>(ceil_div(size, most), 1)), step), step);
  };
  const int64_t rows = equal_parts(m, row_panels * K::kRows, K::kRowStep);
  const int64_t cols = equal_parts(n, col_panels * K::kCols, K::kCols);
  return {rows, cols, ceil_div(m, rows), ceil_div(n, cols)};
}

namespace detail {

/// Finishes kCount vectors of columns (V: FloatVector) or columns (V: float) of a tile. kEpilogue: there is a
/// bias, a residual or a ReLU. Several vectors at a time do not wait for each other's sums.
template <class K, class V, int kCount, bool kEpilogue, bool kMoments, class T>
[[gnu::always_inline]] inline void finish_columns(float* sums, int64_t rows, int64_t column,
                                                  const HalfOutput<T>& out) {
  constexpr int64_t kWidth = std::is_same_v<V, float> ? 1 : Simd<float>::kLanes;
  const auto load = [](const auto* from) {
    if constexpr (kWidth > 1)
      return Simd<float>::load(from);
    else
      return V(*from);
  };
  const int64_t to = out.column + column;
  V bias[kCount] = {}, mean[kCount] = {}, square[kCount] = {};
  for (int v = 0; v < kCount; ++v) {
    if (kEpilogue && out.bias) bias[v] = load(out.bias + to + v * kWidth);
  }
  for (int64_t i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) {
      float* const place = sums + i * K::kCols + column + v * kWidth;
      V sum = load(place);
      if constexpr (kEpilogue) {
        sum += bias[v];
        if (out.residual) sum += load(out.residual[i] + to + v * kWidth) * out.residual_factor;
        if (out.relu) sum = sum < 0 ? V{} : sum;  // NaN stays NaN
      }
      T* const result = out.rows[i] + to + v * kWidth;
      if constexpr (kWidth > 1)
        Simd<float>::store(result, sum);
      else
        *result = T(sum);
      if constexpr (kMoments) {
        const V rounded = load(result);
        mean[v] += rounded;
        std::memcpy(place, &rounded, sizeof rounded);
      }
    }
  }
  if constexpr (!kMoments) return;
  for (V& sum : mean) sum *= 1.f / float(rows);
  for (int64_t i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kCount; ++v) {
      const V distance = load(sums + i * K::kCols + column + v * kWidth) - mean[v];
      square[v] += distance * distance;
    }
  }
  for (int v = 0; v < kCount; ++v) out.moments.merge(to + v * kWidth, mean[v], square[v], rows);
}

template <class K, bool kEpilogue, bool kMoments, class T>
void finish_tile(float* sums, int64_t rows, int64_t cols, const HalfOutput<T>& out) {
  constexpr int64_t kLanes = Simd<float>::kLanes;
  constexpr int kAll = int(K::kCols / kLanes);
  if (cols == K::kCols) return finish_columns<K, FloatVector, kAll, kEpilogue, kMoments>(sums, rows, 0, out);
  int64_t column = 0;
  for (; column + kLanes <= cols; column += kLanes)
    finish_columns<K, FloatVector, 1, kEpilogue, kMoments>(sums, rows, column, out);
  for (; column < cols; ++column) finish_columns<K, float, 1, kEpilogue, kMoments>(sums, rows, column, out);
}

}  // namespace detail

/// Finishes and stores the first columns of a tile of sums, which it may change. out.column: the tile's first.
template <class K, class T>
void finish_tile(float* sums, int64_t rows, int64_t cols, const HalfOutput<T>& out) {
  const bool epilogue = out.bias || out.residual || out.relu;
  if (epilogue && out.moments) return detail::finish_tile<K, true, true>(sums, rows, cols, out);
  if (epilogue) return detail::finish_tile<K, true, false>(sums, rows, cols, out);
  if (out.moments) return detail::finish_tile<K, false, true>(sums, rows, cols, out);
  detail::finish_tile<K, false, false>(sums, rows, cols, out);
}

#if TAPER_HAVE_AVX512BF16
/// Rows that are null are left out. gemm/cpu/avx512bf16/bf16_finish.cpp.
template <>
void finish_tile<PairKernel>(float* sums, int64_t rows, int64_t cols, const HalfOutput<BFloat16>& out);
#endif

/// A thread's use of a kernel.
template <class K>
class KernelScope {
 public:
  explicit KernelScope(const K& kernel) : kernel_(kernel) { kernel_.begin(); }
  ~KernelScope() { kernel_.end(); }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  const K& kernel_;
};

/// One thread's share of a product: `rows` of a times columns first_col to first_col + cols (first_col a
/// multiple of kCols) of a packed b, summed over `depth`, which may be empty. pack(block_index, panels) packs
/// a's rows for one depth block, kRows to a panel, panels kRows * kRowStride apart.
template <class K, class T, class Pack>
void multiply_rows_half(const K& kernel, int64_t rows, const PackedHalves<K>& b, int64_t first_col,
                        int64_t cols, std::span<const DepthBlock> depth, const HalfOutput<T>& out,
                        Pack&& pack) {
  constexpr int64_t kPanel = K::kRows * K::kRowStride, kTile = K::kRows * K::kCols;
  const int64_t row_panels = ceil_div(rows, K::kRows), col_panels = ceil_div(cols, K::kCols);
  const Scratch<typename K::Element> panels(row_panels * kPanel);
  // Sums over several depth blocks wait in memory. Otherwise one tile serves all.
  const bool keeps_sums = depth.size() > 1;
  const Scratch<float> sums(keeps_sums ? row_panels * col_panels * kTile : kTile);
  if (depth.empty()) std::fill_n(sums.data(), kTile, 0.f);
  const auto finish = [&](int64_t i, int64_t j, float* tile) {
    HalfOutput<T> part = out;
    part.rows += i * K::kRows;
    if (part.residual) part.residual += i * K::kRows;
    part.column += first_col + j * K::kCols;
    part.moments.rows = i * K::kRows;
    finish_tile<K>(tile, std::min(K::kRows, rows - i * K::kRows), std::min(K::kCols, cols - j * K::kCols),
                   part);
  };
  const KernelScope scope(kernel);
  for (size_t d = 0; d < std::max<size_t>(depth.size(), 1); ++d) {
    if (!depth.empty()) pack(d, panels.data());
    for (int64_t j = 0; j < col_panels; ++j) {
      for (int64_t i = 0; i < row_panels; ++i) {
        float* const tile = sums.data() + (keeps_sums ? (j * row_panels + i) * kTile : 0);
        if (!depth.empty()) {
          kernel.multiply(panels.data() + i * kPanel, K::kRowStride, std::min(K::kRows, rows - i * K::kRows),
                          b.panel(first_col / K::kCols + j) + depth[d].first * K::kCols,
                          round_up(depth[d].length, K::kDepthStep), d > 0, tile);
        }
        if (d + 1 >= depth.size()) finish(i, j, tile);
      }
    }
  }
}

}  // namespace taper::ops
