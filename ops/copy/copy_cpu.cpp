#include "taper/ops/copy/copy_cpu.h"

#include <algorithm>
#include <cstring>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/copy/conversion_type.h"
#include "taper/ops/copy/strided_loop.h"
#include "taper/ops/element_width.h"

namespace taper::ops {
namespace {

/// Copies rows x columns elements: rows of src are contiguous, columns of dst are. Works in tiles, so that
/// the cache lines of both sides stay in use until they are done.
template <class T>
void transpose_tile(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t rows,
                    int64_t columns) {
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) dst[column * dst_stride + row] = src[row * src_stride + column];
  }
}

/// Copies a loop where dst is contiguous along the innermost axis, and src along `axis`.
template <class T>
void transposed_copy(const StridedLoop& loop, int64_t axis) {
  constexpr int64_t kTile = 32;
  const LoopOperand& dst = loop.operands[0];
  const LoopOperand& src = loop.operands[1];
  const int64_t inner = loop.shape.size() - 1;
  const int64_t rows = loop.shape[inner], columns = loop.shape[axis];
  const int64_t row_tiles = ceil_div(rows, kTile);
  const int64_t column_tiles = ceil_div(columns, kTile);
  const int64_t planes = loop.numel / (rows * columns);
  const int64_t tiles = planes * column_tiles * row_tiles;
  parallel_for(tiles, std::max<int64_t>(kGrainSize / (kTile * kTile), 1), [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t row = tile % row_tiles * kTile;
      const int64_t column = tile / row_tiles % column_tiles * kTile;
      int64_t plane = tile / row_tiles / column_tiles;
      int64_t dst_offset = row + column * dst.strides[axis];
      int64_t src_offset = row * src.strides[inner] + column;
      for (int64_t other = inner - 1; other >= 0; --other) {
        if (other == axis) continue;
        dst_offset += plane % loop.shape[other] * dst.strides[other];
        src_offset += plane % loop.shape[other] * src.strides[other];
        plane /= loop.shape[other];
      }
      transpose_tile(reinterpret_cast<const T*>(src.data) + src_offset, src.strides[inner],
                     reinterpret_cast<T*>(dst.data) + dst_offset, dst.strides[axis],
                     std::min(kTile, rows - row), std::min(kTile, columns - column));
    }
  });
}

/// Returns the element offset of each operand at the beginning of row `row` of the loop.
std::array<int64_t, 2> row_offsets(const StridedLoop& loop, int64_t row) {
  std::array<int64_t, 2> offsets{};
  for (int64_t axis = loop.shape.size() - 2; axis >= 0; --axis) {
    const int64_t index = row % loop.shape[axis];
    row /= loop.shape[axis];
    for (size_t k = 0; k < 2; ++k) offsets[k] += index * loop.operands[k].strides[axis];
  }
  return offsets;
}

template <class T>
void copy_row(T* dst, int64_t dst_stride, const T* src, int64_t src_stride, int64_t count) {
  if (dst_stride == 1 && src_stride == 1) {
    std::memcpy(dst, src, size_t(count) * sizeof(T));
  } else if (dst_stride == 1 && src_stride == 0) {
    std::fill_n(dst, count, *src);
  } else {
    for (int64_t i = 0; i < count; ++i) dst[i * dst_stride] = src[i * src_stride];
  }
}

/// Copies bits, whatever their meaning. T is an unsigned integer of the dtype's size.
template <class T>
void copy_bits(const StridedLoop& loop) {
  const LoopOperand& dst = loop.operands[0];
  const LoopOperand& src = loop.operands[1];
  const int64_t inner = loop.shape.size() - 1;
  const int64_t length = loop.shape[inner];
  if (dst.strides[inner] == 1 && src.strides[inner] > 1) {
    for (int64_t axis = inner - 1; axis >= 0; --axis) {
      if (src.strides[axis] == 1) return transposed_copy<T>(loop, axis);
    }
  }
  // Cuts long rows, and groups short rows, into pieces of about kGrainSize elements.
  const int64_t piece = std::min(length, kGrainSize);
  const int64_t pieces = ceil_div(length, piece);
  parallel_for(loop.numel / length * pieces, std::max<int64_t>(kGrainSize / piece, 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const auto offsets = row_offsets(loop, i / pieces);
                   const int64_t at = i % pieces * piece;
                   copy_row(reinterpret_cast<T*>(dst.data) + offsets[0] + at * dst.strides[inner],
                            dst.strides[inner],
                            reinterpret_cast<const T*>(src.data) + offsets[1] + at * src.strides[inner],
                            src.strides[inner], std::min(piece, length - at));
                 }
               });
}

template <class T>
void copy_converted(const StridedLoop& loop) {
  const LoopOperand& dst = loop.operands[0];
  const LoopOperand& src = loop.operands[1];
  parallel_for(loop.numel, kGrainSize, [&](int64_t begin, int64_t end) {
    T buffer[kBlockSize];
    for (int64_t at = begin; at < end; at += kBlockSize) {
      const int64_t count = std::min(kBlockSize, end - at);
      store_block(dst, loop.shape, at, count, load_block<T>(src, loop.shape, at, count, buffer));
    }
  });
}

}  // namespace

void copy_cpu(const Tensor& dst, const Tensor& src) {
  const Tensor* tensors[] = {&dst, &src};
  const StridedLoop loop(tensors);
  if (dst.dtype() == src.dtype()) {
    return dispatch_width(size_of(dst.dtype()), [&]<class Word>() { copy_bits<Word>(loop); });
  }
  dispatch_block_type(conversion_type(dst.dtype(), src.dtype()), [&]<class T>() { copy_converted<T>(loop); });
}

void fill_cpu(const Tensor& x, Scalar value) {
  const Tensor* tensors[] = {&x};
  const StridedLoop loop(tensors);
  dispatch_block_type(x.dtype(), [&]<class T>() {
    const T typed = value.to<T>();
    parallel_for(loop.numel, kGrainSize, [&](int64_t begin, int64_t end) {
      T buffer[kBlockSize];
      std::fill_n(buffer, std::min(kBlockSize, end - begin), typed);
      for (int64_t at = begin; at < end; at += kBlockSize) {
        store_block(loop.operands[0], loop.shape, at, std::min(kBlockSize, end - at), buffer);
      }
    });
  });
}

}  // namespace taper::ops
