// Products of bf16 by AVX-512's VDPBF16PS. Each of its 16 lanes multiplies two pairs of numbers and adds both
// products to its sum.

#include <immintrin.h>

#include <cstring>

#include "taper/ops/gemm/cpu/half_kernel.h"

namespace taper::ops {
namespace {

constexpr int64_t kDotLanes = 16;

__m512bh pairs_at(const BFloat16* from) {
  return __m512bh(_mm512_loadu_si512(from));
}

/// Returns the pair at `from` in each lane.
__m512bh broadcast_pair(const BFloat16* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  return __m512bh(_mm512_set1_epi32(pair));
}

template <int kHeight>
void multiply_rows_of(const BFloat16* a, int64_t row_stride, const BFloat16* b, int64_t depth,
                      bool accumulate, float* sums) {
  __m512 tile[kHeight][2];
#pragma GCC unroll 16
  for (int i = 0; i < kHeight; ++i) {
    const float* const row = sums + i * PairKernel::kCols;
    tile[i][0] = accumulate ? _mm512_loadu_ps(row) : _mm512_setzero_ps();
    tile[i][1] = accumulate ? _mm512_loadu_ps(row + kDotLanes) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < depth; k += PairKernel::kUnit, b += PairKernel::kUnit * PairKernel::kCols) {
    const __m512bh left = pairs_at(b), right = pairs_at(b + PairKernel::kUnit * kDotLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kHeight; ++i) {
      const __m512bh factor = broadcast_pair(a + i * row_stride + k);
      tile[i][0] = _mm512_dpbf16_ps(tile[i][0], factor, left);
      tile[i][1] = _mm512_dpbf16_ps(tile[i][1], factor, right);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kHeight; ++i) {
    float* const row = sums + i * PairKernel::kCols;
    _mm512_storeu_ps(row, tile[i][0]);
    _mm512_storeu_ps(row + kDotLanes, tile[i][1]);
  }
}

/// As many rows at a time as fit into the registers: 11, 11 and 10 of a full panel.
void multiply_by_dots(const BFloat16* a, int64_t row_stride, int64_t rows, const BFloat16* b, int64_t depth,
                      bool accumulate, float* sums) {
  constexpr int64_t kMost = 11;
  for (int64_t row = 0; row < rows; row += kMost) {
    const BFloat16* const from = a + row * row_stride;
    float* const to = sums + row * PairKernel::kCols;
    const int64_t height = rows - row;  // a panel has memory for all its rows, so few heights do
    if (height > 8) {
      height >= kMost ? multiply_rows_of<11>(from, row_stride, b, depth, accumulate, to)
                      : multiply_rows_of<10>(from, row_stride, b, depth, accumulate, to);
    } else if (height > 4) {
      multiply_rows_of<8>(from, row_stride, b, depth, accumulate, to);
    } else {
      multiply_rows_of<4>(from, row_stride, b, depth, accumulate, to);
    }
  }
}

void nothing() {}

}  // namespace

const PairKernel kBf16DotKernel = {multiply_by_dots, nullptr, nothing, nothing};

double bf16_dot_speed() {
  // Sapphire Rapids, which has tiles for this, was measured: it starts one such instruction every two cycles,
  // in the time of four multiply-adds. Zen 4 starts as many as multiply-adds, each with twice the products.
  return __builtin_cpu_is("intel") ? 0.5 : 2;
}

}  // namespace taper::ops
