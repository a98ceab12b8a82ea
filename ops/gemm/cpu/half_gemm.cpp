#include "taper/ops/gemm/cpu/half_gemm.h"

#include "taper/core/base/parallel.h"

namespace taper::ops {
namespace {

/// Returns pointers to the contiguous rows of m, which is not transposed.
template <class T>
std::vector<T*> row_pointers(const Matrix<T>& m) {
  std::vector<T*> rows(static_cast<size_t>(m.rows));
  for (int64_t i = 0; i < m.rows; ++i) rows[size_t(i)] = m.data + i * m.stride;
  return rows;
}

template <class K, class T>
void pack_rows_half(const Matrix<const T>& a, typename K::Element* panels) {
  constexpr int64_t kPanel = K::kRows * K::kRowStride;
  const std::vector<const T*> lines = row_pointers(a.transposed ? a.t() : a);
  for (int64_t i = 0; i < a.rows; i += K::kRows, panels += kPanel) {
    const int64_t rows = std::min(K::kRows, a.rows - i);
    if (a.transposed) {
      pack_transposed<K>(lines.data(), a.cols, i, rows, panels);
    } else {
      for (int64_t row = 0; row < rows; ++row)
        pack_row<K>(lines[size_t(i + row)], a.cols, panels + row * K::kRowStride);
    }
  }
}

}  // namespace

template <class K, class T, class Out>
void gemm_half(const K& kernel, const Matrix<const T>& a, const Matrix<const T>& b, float beta,
               const Matrix<Out>& c) {
  if (c.rows == 0 || c.cols == 0) return;
  const GemmBlocks blocks = half_blocks<K>(c.rows, c.cols, a.cols);
  std::vector<DepthBlock> depth;
  append_depth_blocks(0, a.cols, K::kDepth, depth);
  const PackedHalves<K> packed(a.cols, c.cols);
  const std::vector<const T*> b_rows = b.transposed ? std::vector<const T*>() : row_pointers(b);
  parallel_chunks(packed.panels(), [&](int64_t panel) {
    if (b.transposed) {
      packed.pack_panel_transposed(panel, b.data + panel * K::kCols * b.stride, b.stride);
    } else {
      packed.pack_panel(panel, b_rows.data());
    }
  });
  const std::vector<Out*> c_rows = row_pointers(c);
  parallel_chunks(blocks.count_rows * blocks.count_cols, [&](int64_t chunk) {
    const int64_t row = chunk / blocks.count_cols * blocks.rows, rows = std::min(blocks.rows, c.rows - row);
    const int64_t col = chunk % blocks.count_cols * blocks.cols, cols = std::min(blocks.cols, c.cols - col);
    multiply_rows_half<K>(kernel, rows, packed, col, cols, depth,
                          HalfOutput<Out>{.rows = c_rows.data() + row,
                                          .residual = beta != 0 ? c_rows.data() + row : nullptr,
                                          .residual_factor = beta},
                          [&](size_t block, typename K::Element* panels) {
                            pack_rows_half<K>(a.block(row, depth[block].first, rows, depth[block].length),
                                              panels);
                          });
  });
}

#define TAPER_GEMM_HALF(K, T, Out) \
  template void gemm_half(const K&, const Matrix<const T>&, const Matrix<const T>&, float, const Matrix<Out>&)
#if TAPER_HAVE_AVX512BF16
TAPER_GEMM_HALF(PairKernel, BFloat16, BFloat16);
TAPER_GEMM_HALF(PairKernel, BFloat16, float);
#endif
TAPER_GEMM_HALF(WideningKernel, BFloat16, BFloat16);
TAPER_GEMM_HALF(WideningKernel, BFloat16, float);
TAPER_GEMM_HALF(WideningKernel, Half, Half);
TAPER_GEMM_HALF(WideningKernel, Half, float);
#undef TAPER_GEMM_HALF

}  // namespace taper::ops
