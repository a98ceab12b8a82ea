// Products of bf16 by Intel's matrix tiles: Intel 64 and IA-32 Architectures Software Developer's Manual,
// volume 1, chapter 18. A tile of a is 16 rows of 32 numbers. A tile of b is 16 rows of 16 pairs. One
// instruction adds their product to a tile of 16 x 16 sums.

#include <immintrin.h>

#include "taper/ops/gemm/cpu/half_kernel.h"

namespace taper::ops {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

/// Sums in tiles 0 to 3, a in 4 and 5, b in 6 and 7: all of 16 rows and 64 bytes a row. Constant, because
/// GCC 12 does not know that loading a configuration reads all of it.
constexpr TileConfig kTiles = {1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

void begin_tiles() {
  _tile_loadconfig(&kTiles);
}

void end_tiles() {
  _tile_release();
}

constexpr int64_t kHalf = 16, kColumnBytes = PairKernel::kCols * 4;

/// Adds a * b to the tiles of sums. kTall: 32 rows, else the upper 16.
template <bool kTall>
void add_products(const BFloat16* upper, const BFloat16* lower, int64_t row_bytes, const BFloat16* b,
                  int64_t depth) {
  for (int64_t k = 0; k < depth; k += PairKernel::kDepthStep) {
    const BFloat16* const panel = b + k * PairKernel::kCols;
    _tile_loadd(4, upper + k, row_bytes);
    _tile_loadd(6, panel, kColumnBytes);
    _tile_loadd(7, panel + 2 * kHalf, kColumnBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (!kTall) continue;
    _tile_loadd(5, lower + k, row_bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

template <bool kTall>
void store_sums(float* sums) {
  float* const lower = sums + kHalf * PairKernel::kCols;
  _tile_stored(0, sums, kColumnBytes);
  _tile_stored(1, sums + kHalf, kColumnBytes);
  if (kTall) _tile_stored(2, lower, kColumnBytes);
  if (kTall) _tile_stored(3, lower + kHalf, kColumnBytes);
}

template <bool kTall>
void multiply_tiles(const BFloat16* a, int64_t row_stride, const BFloat16* b, int64_t depth, bool accumulate,
                    float* sums) {
  if (accumulate) {
    float* const lower = sums + kHalf * PairKernel::kCols;
    _tile_loadd(0, sums, kColumnBytes);
    _tile_loadd(1, sums + kHalf, kColumnBytes);
    if (kTall) _tile_loadd(2, lower, kColumnBytes);
    if (kTall) _tile_loadd(3, lower + kHalf, kColumnBytes);
  } else {
    clear_sums();
  }
  add_products<kTall>(a, a + kHalf * row_stride, row_stride * 2, b, depth);
  store_sums<kTall>(sums);
}

void multiply_by_tiles(const BFloat16* a, int64_t row_stride, int64_t rows, const BFloat16* b, int64_t depth,
                       bool accumulate, float* sums) {
  if (rows > 16) return multiply_tiles<true>(a, row_stride, b, depth, accumulate, sums);
  multiply_tiles<false>(a, row_stride, b, depth, accumulate, sums);
}

template <bool kTall>
void multiply_strips_of(const BFloat16* upper, const BFloat16* lower, int64_t row_stride,
                        std::span<const PairKernel::Strip> strips, const BFloat16* b, float* sums) {
  clear_sums();
  for (const PairKernel::Strip& strip : strips) {
    add_products<kTall>(upper + strip.offset, lower + strip.offset, row_stride * 2,
                        b + strip.column * PairKernel::kCols, strip.length);
  }
  store_sums<kTall>(sums);
}

void multiply_strips_by_tiles(const BFloat16* upper, const BFloat16* lower, int64_t row_stride,
                              std::span<const PairKernel::Strip> strips, const BFloat16* b, float* sums) {
  if (lower) return multiply_strips_of<true>(upper, lower, row_stride, strips, b, sums);
  multiply_strips_of<false>(upper, upper, row_stride, strips, b, sums);
}

}  // namespace

const PairKernel kAmxKernel = {multiply_by_tiles, multiply_strips_by_tiles, begin_tiles, end_tiles};

}  // namespace taper::ops
