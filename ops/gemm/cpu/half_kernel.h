#pragma once
// The innermost part of products of 16-bit numbers on the CPU. As in gemm_kernel.h, a tile of sums takes the
// products of a packed panel of a and a packed panel of b. The sums are f32, and stay so over the whole depth.
//
// The unit of packing is 32 bits: what one lane multiplies at a time. It is a pair of bf16 numbers, neighbours
// along the depth, for CPUs that multiply such pairs; or one number widened to f32 for those that do not.
//
//   panel of a: row i has its units at i * kRowStride (in elements)
//   panel of b: unit k of column j is number k * kCols + j
//   tile of sums: kRows x kCols, row by row

#include <span>

#include "taper/core/base/half.h"
#include "taper/ops/gemm/cpu/gemm_kernel.h"

namespace taper::ops {

using FloatVector = Simd<float>::Vector;

/// Instructions that multiply pairs of bf16 numbers and add the products to f32 sums. They take subnormal
/// numbers as 0.
struct PairKernel {
  using Element = BFloat16;            ///< of a panel
  static constexpr int64_t kUnit = 2;  ///< elements in 32 bits
  static constexpr int64_t kRows = 32, kCols = 32;
  static constexpr int64_t kRowStep = 16;             ///< fewer rows take as long
  static constexpr int64_t kDepth = 1024;             ///< of a pair of panels at most
  static constexpr int64_t kDepthStep = 32;           ///< packed panels end with zeros up to a multiple
  static constexpr int64_t kRowStride = kDepth + 32;  ///< rows a power of two apart compete for cache sets

  /// sums = a * b, or sums += a * b. Rows `rows` and beyond receive anything. depth: a multiple of kDepthStep.
  void (*multiply)(const BFloat16* a, int64_t row_stride, int64_t rows, const BFloat16* b, int64_t depth,
                   bool accumulate, float* sums);
  /// sums = a * b, where a is not packed. It has two halves of 16 rows, row_stride apart; no second half: null.
  /// Columns that follow each other in a lie in strips, which every row has at its own place.
  struct Strip {
    int64_t offset;  ///< from a row's begin, in elements
    int64_t column;  ///< of a: the row of b
    int64_t length;  ///< a multiple of kDepthStep
  };
  /// Null: the kernel has none.
  void (*multiply_strips)(const BFloat16* upper, const BFloat16* lower, int64_t row_stride,
                          std::span<const Strip> strips, const BFloat16* b, float* sums);
  /// A thread calls these before its first multiply and after its last.
  void (*begin)();
  void (*end)();
};

/// Matrix tiles (AMX). Needs CpuLevel::kAmx.
extern const PairKernel kAmxKernel;
/// AVX-512's dot products of bf16. Needs CpuLevel::kAvx512Bf16.
extern const PairKernel kBf16DotKernel;
/// Returns how many times as fast as multiply-adds of f32 the dot products are.
double bf16_dot_speed();

/// Multiply-adds of f32, for numbers that packing has widened: any CPU.
struct WideningKernel {
  using Element = float;
  static constexpr int64_t kUnit = 1;
  static constexpr int64_t kRows = GemmTile<float>::kRows, kCols = GemmTile<float>::kCols;
  static constexpr int64_t kRowStep = kRows;
  static constexpr int64_t kDepth = GemmTile<float>::kDepth, kDepthStep = 1;
  static constexpr int64_t kRowStride = GemmTile<float>::kRowStride;

  static void multiply(const float* a, int64_t /*row_stride*/, int64_t rows, const float* b, int64_t depth,
                       bool accumulate, float* sums) {
    float* row[kRows];
    for (int64_t i = 0; i < rows; ++i) row[i] = sums + i * kCols;
    multiply_panels<float>({a, rows}, b, depth, {.rows = row, .accumulate = accumulate});
  }
  static void begin() {}
  static void end() {}
};

}  // namespace taper::ops
