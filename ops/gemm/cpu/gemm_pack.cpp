#include "taper/ops/gemm/cpu/gemm_pack.h"

#include <cstring>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/gemm/cpu/transpose_vectors.h"

namespace taper::ops {

template <class T>
void transpose_block(const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  constexpr int kSize = int(Simd<T>::kLanes);
  typename Simd<T>::Vector rows[kSize];
#pragma GCC unroll 16
  for (int i = 0; i < kSize; ++i) rows[i] = Simd<T>::load(from + i * from_stride);
  transpose_vectors(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kSize; ++i) Simd<T>::store(to + i * to_stride, rows[i]);
}

template <class T>
void pack_rows(const Matrix<const T>& a, T* out) {
  using Tile = GemmTile<T>;
  const PanelCut cut = PanelCut::of<T>(a.rows);
  if (!a.transposed) {
    for (int64_t panel = 0; panel < cut.panels; ++panel) {
      const int64_t first = cut.first(panel);
      for (int64_t i = 0; i < cut.height(panel); ++i) {
        std::memcpy(out + panel * Tile::kPanel + i * Tile::kRowStride, a.data + (first + i) * a.stride,
                    size_t(a.cols) * sizeof(T));
      }
    }
    return;
  }
  for (int64_t k = 0; k < a.cols; ++k) {
    const T* column = a.data + k * a.stride;
    T* to = out + k * Tile::kRows;
    for (int64_t panel = 0; panel < cut.panels; ++panel, to += Tile::kPanel) {
      const int64_t height = cut.height(panel);
      copy_panel_column(column, height, to);
      column += height;
    }
  }
}

template <class T>
void pack_columns(const Matrix<const T>& b, T* out) {
  constexpr int64_t kCols = GemmTile<T>::kCols, kSize = Simd<T>::kLanes;
  if (!b.transposed) {
    for (int64_t k = 0; k < b.rows; ++k, out += kCols) {
      const T* row = b.data + k * b.stride;
      if (b.cols == kCols) {
        std::memcpy(out, row, size_t(kCols) * sizeof(T));
      } else {
        std::copy(row, row + b.cols, out);
        std::fill(out + b.cols, out + kCols, T(0));
      }
    }
    return;
  }
  for (int64_t first = 0; first < kCols; first += kSize) {
    const T* columns = b.data + first * b.stride;
    int64_t k = 0;
    if (first + kSize <= b.cols) {
      for (; k + kSize <= b.rows; k += kSize) {
        transpose_block(columns + k, b.stride, out + k * kCols + first, kCols);
      }
    }
    for (; k < b.rows; ++k) {
      for (int64_t j = 0; j < kSize; ++j) {
        out[k * kCols + first + j] = first + j < b.cols ? columns[j * b.stride + k] : T(0);
      }
    }
  }
}

void append_depth_blocks(int64_t first, int64_t length, int64_t longest, std::vector<DepthBlock>& blocks,
                         int64_t step) {
  if (length == 0) return;
  const int64_t count = ceil_div(length, longest);
  const int64_t block = std::min(longest, round_up(ceil_div(length, count), step));
  for (int64_t at = 0; at < length; at += block) blocks.push_back({first + at, std::min(block, length - at)});
}

template void transpose_block(const float*, int64_t, float*, int64_t);
template void transpose_block(const double*, int64_t, double*, int64_t);
template void pack_rows(const Matrix<const float>&, float*);
template void pack_rows(const Matrix<const double>&, double*);
template void pack_columns(const Matrix<const float>&, float*);
template void pack_columns(const Matrix<const double>&, double*);

}  // namespace taper::ops
