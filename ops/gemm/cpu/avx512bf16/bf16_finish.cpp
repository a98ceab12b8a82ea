// The end of a tile of bf16 products, by AVX512-BF16's rounding. That takes subnormal numbers as 0, as the
// products did.

#include <immintrin.h>

#include "taper/ops/gemm/cpu/half_gemm.h"

namespace taper::ops {
namespace {

constexpr int64_t kHalfRow = 16;

using Bits = half_vectors::Bits;

/// 32 floats, the columns of a tile: the first 16 and the rest; or those of even index and of odd index.
struct TileRow {
  FloatVector first, second;
};

TileRow operator+(TileRow a, TileRow b) {
  return {a.first + b.first, a.second + b.second};
}
TileRow operator-(TileRow a, TileRow b) {
  return {a.first - b.first, a.second - b.second};
}
TileRow operator*(TileRow a, TileRow b) {
  return {a.first * b.first, a.second * b.second};
}
TileRow operator*(TileRow a, float b) {
  return {a.first * b, a.second * b};
}
/// NaN stays NaN.
TileRow relu(TileRow a) {
  return {a.first < 0 ? FloatVector{} : a.first, a.second < 0 ? FloatVector{} : a.second};
}

TileRow load_columns(const float* from, __mmask32 columns) {
  return {FloatVector(_mm512_maskz_loadu_ps(__mmask16(columns), from)),
          FloatVector(_mm512_maskz_loadu_ps(__mmask16(columns >> kHalfRow), from + kHalfRow))};
}

TileRow load_columns(const BFloat16* from, __mmask32 columns) {
  using Words = half_vectors::Words;
  const auto lower = Words(_mm256_maskz_loadu_epi16(__mmask16(columns), from));
  const auto upper = Words(_mm256_maskz_loadu_epi16(__mmask16(columns >> kHalfRow), from + kHalfRow));
  return {half_vectors::widened(lower, BFloat16()), half_vectors::widened(upper, BFloat16())};
}

/// Returns the columns of even index and those of odd index: one instruction for each.
TileRow widen_alternating(Bits words) {
  return {FloatVector(words << 16), FloatVector(words & 0xffff0000)};
}

TileRow in_order(TileRow a) {
  return {__builtin_shufflevector(a.first, a.second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          __builtin_shufflevector(a.first, a.second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                  31)};
}

/// Columns are even and odd ones.
void merge_moments(const ColumnMoments<float>& moments, int64_t column, int64_t cols, TileRow mean,
                   TileRow square, int64_t rows) {
  mean = in_order(mean);
  square = in_order(square);
  if (cols == PairKernel::kCols) {
    moments.merge(column, mean.first, square.first, rows);
    return moments.merge(column + kHalfRow, mean.second, square.second, rows);
  }
  float means[PairKernel::kCols], squares[PairKernel::kCols];
  std::memcpy(means, &mean, sizeof means);
  std::memcpy(squares, &square, sizeof squares);
  for (int64_t j = 0; j < cols; ++j) moments.merge(column + j, means[j], squares[j], rows);
}

/// kEpilogue: there is a bias, a residual or a ReLU.
template <bool kEpilogue, bool kMoments>
void finish_rows(const float* sums, int64_t rows, int64_t cols, const HalfOutput<BFloat16>& out) {
  const auto columns = __mmask32((uint64_t(1) << cols) - 1);
  const TileRow bias = kEpilogue && out.bias ? load_columns(out.bias + out.column, columns) : TileRow{};
  // The moments are sums over distances from the first row. Squares of these add up to at most `rows` times
  // the squares of distances from the mean, so little cancels.
  TileRow pivot{}, sum{}, square{};
  int64_t count = 0;
  for (int64_t i = 0; i < rows; ++i) {
    if (!out.rows[i]) continue;
    TileRow row = load_columns(sums + i * PairKernel::kCols, ~__mmask32(0));
    if constexpr (kEpilogue) {
      row = row + bias;
      if (out.residual) row = row + load_columns(out.residual[i] + out.column, columns) * out.residual_factor;
      if (out.relu) row = relu(row);
    }
    const auto rounded = Bits(_mm512_cvtne2ps_pbh(__m512(row.second), __m512(row.first)));
    _mm512_mask_storeu_epi16(out.rows[i] + out.column, columns, __m512i(rounded));
    if constexpr (kMoments) {
      const TileRow value = widen_alternating(rounded);
      if (count++ == 0) pivot = value;
      const TileRow distance = value - pivot;
      sum = sum + distance;
      square = square + distance * distance;
    }
  }
  if constexpr (kMoments) {
    const TileRow mean = sum * (1.f / float(count));
    merge_moments(out.moments, out.column, cols, pivot + mean, relu(square - sum * mean), count);
  }
}

}  // namespace

template <>
void finish_tile<PairKernel>(float* sums, int64_t rows, int64_t cols, const HalfOutput<BFloat16>& out) {
  const bool epilogue = out.bias || out.residual || out.relu;
  if (epilogue && out.moments) return finish_rows<true, true>(sums, rows, cols, out);
  if (epilogue) return finish_rows<true, false>(sums, rows, cols, out);
  if (out.moments) return finish_rows<false, true>(sums, rows, cols, out);
  finish_rows<false, false>(sums, rows, cols, out);
}

}  // namespace taper::ops
