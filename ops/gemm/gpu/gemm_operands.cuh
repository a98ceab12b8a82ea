#pragma once  // spine 36 (docs/0-the-spine.md)
// What the GPU's matrix products read and write, as their kernels see it. For .cu files only.
//
// A product c[m, n] = sum over k of a[m, k] * b[k, n] reads each operand in tiles. An operand is a grid of
// elements (outer, inner) whose inner neighbours are neighbours in memory. kInnerIsK says whether k is the
// inner or the outer index. An operand offers
//
//   Row row(int outer), Column column(int inner)   the two indices' contributions, computed apart because
//                                                   a thread that walks along k keeps one of the two
//   const T* at(Row, Column)                        the element's address; null: it is zero
//   void select(int64_t outer, int64_t inner)       moves to one matrix of a batch
//   kKeepRows                                       whether to keep rows in registers, as they cost divisions
//   bool vectors                                    inner indices at multiples of 16 bytes, counted from 0,
//                                                   begin 16 aligned bytes inside one matrix (or are zero)
//
// Matrices in memory are one kind of operand; a convolution's gathered pixels are another
// (ops/conv/gpu/conv_operands.cuh). The main loops do not know the difference. CUTLASS: a tile iterator.

#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/strided_gpu.cuh"

namespace taper::ops {

/// Elements that one 16-byte access moves.
template <class T>
inline constexpr int kVectorOf = 16 / int(sizeof(T));

/// Elements between the matrices of a batch with two axes; a stride of 0 repeats one matrix.
struct BatchStrides {
  int64_t outer = 0, inner = 0;

  __device__ __forceinline__ int64_t offset(int64_t i, int64_t j) const { return i * outer + j * inner; }
};

/// (outer, inner) is data[outer * stride + inner].
template <class T, bool kInnerIsK_>
struct MatrixOperand {
  using Element = T;
  static constexpr bool kInnerIsK = kInnerIsK_, kKeepRows = false;
  using Row = int64_t;
  using Column = int;

  const T* data = nullptr;
  int64_t stride = 0;
  BatchStrides batch;
  bool vectors = false;

  __device__ __forceinline__ void select(int64_t i, int64_t j) { data += batch.offset(i, j); }
  __device__ __forceinline__ Row row(int outer) const { return outer * stride; }
  __device__ __forceinline__ Column column(int inner) const { return inner; }
  __device__ __forceinline__ const T* at(Row row, Column column) const { return data + row + column; }
};

/// Where row m of a result begins. Rows are numbered over a grid of images, lines and pixels; a plain matrix
/// has one pixel per image.
struct RowMap {
  FastDivisor width{1}, height{1};
  int64_t image_stride = 0, y_stride = 0, x_stride = 0;

  __device__ __forceinline__ int64_t offset(int m) const {
    const uint32_t line = width.quotient(uint32_t(m)), image = height.quotient(line);
    return image * image_stride + (line - image * height.divisor) * y_stride +
           (uint32_t(m) - line * width.divisor) * x_stride;
  }
};

/// The type of sums: f64 for f64, else f32.
template <class T>
using SumOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

struct GemmProblem;

/// The result and its epilogue: c = relu(sum + bias[n] + residual); bias, residual and ReLU are optional.
template <class T>
struct GemmOutput {
  using Element = T;
  static constexpr bool kMoments = false;  ///< see gemm_moments.cuh

  T* data = nullptr;
  RowMap rows;
  BatchStrides batch = {};
  const T* bias = nullptr;       ///< one for each column
  BatchStrides bias_batch = {};  ///< each group of a convolution has its own bias
  const T* residual = nullptr;   ///< laid out as `data`
  bool relu = false;
  bool vectors = false;  ///< each 16 bytes of a row, and of the residual's, are aligned, and rows are whole
  /// Sums, [split, batch, m, n], written instead of `data`. The caller of a main loop sets it to get the sums
  /// unrounded, [batch, m, n]; with several splits it then points to the sums over parts of k.
  SumOf<T>* partial = nullptr;

  __device__ __forceinline__ void select(int64_t i, int64_t j) {
    data += batch.offset(i, j);
    if (residual) residual += batch.offset(i, j);
    if (bias) bias += bias_batch.offset(i, j);
  }
  /// Returns the result's value for a sum at column n, with `residual_value` added.
  __device__ __forceinline__ T finish(SumOf<T> sum, int n, T residual_value) const {
    if (bias) sum += device_cast<SumOf<T>>(bias[n]);
    if (residual) sum += device_cast<SumOf<T>>(residual_value);
    if (relu && sum < 0) sum = 0;
    return device_cast<T>(sum);
  }
  /// Writes the sums of row m, columns n .. n + kCount - 1, except those outside. n is a multiple of kCount.
  template <int kCount>
  __device__ __forceinline__ void store(const GemmProblem& problem, int m, int n,
                                        const Pack<SumOf<T>, kCount>& sums) const;
};

struct GemmProblem {
  int m = 0, n = 0, k = 0;
  int k_per_split = 0;         ///< a multiple of the tile's depth
  FastDivisor batch_inner{1};  ///< matrices along the batch's inner axis
  int64_t first_batch = 0;     ///< of this launch
  int64_t batches = 0;         ///< of the whole product

  /// The index, in the whole batch, of the launch's matrix blockIdx.z.
  __device__ __forceinline__ int64_t batch_index() const { return first_batch + blockIdx.z; }
  /// Calls select on each part with that matrix's batch indices.
  template <class... Parts>
  __device__ __forceinline__ void select_batch(Parts&... parts) const {
    const auto index = uint32_t(batch_index());
    const uint32_t outer = batch_inner.quotient(index), inner = index - outer * batch_inner.divisor;
    (parts.select(outer, inner), ...);
  }
};

template <class T>
template <int kCount>
__device__ __forceinline__ void GemmOutput<T>::store(const GemmProblem& problem, int m, int n,
                                                     const Pack<SumOf<T>, kCount>& sums) const {
  if (partial) {
    const int64_t row = (blockIdx.y * problem.batches + problem.batch_index()) * problem.m + m;
    SumOf<T>* const to = partial + row * problem.n + n;
    if (vectors) {
      *reinterpret_cast<Pack<SumOf<T>, kCount>*>(to) = sums;
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        if (n + i < problem.n) to[i] = sums.values[i];
      }
    }
    return;
  }
  const int64_t place = rows.offset(m) + n;
  Pack<T, kCount> values{};
  if (vectors) {
    if (residual) values = *reinterpret_cast<const Pack<T, kCount>*>(residual + place);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values.values[i] = finish(sums.values[i], n + i, values.values[i]);
    *reinterpret_cast<Pack<T, kCount>*>(data + place) = values;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (n + i >= problem.n) continue;
      data[place + i] = finish(sums.values[i], n + i, residual ? residual[place + i] : values.values[i]);
    }
  }
}

/// The first row and column of the block's tile. Blocks that run together cover a patch about 8 tiles high,
/// so that their operands stay in the L2 cache.
struct TilePlace {
  int m = 0, n = 0;
};
template <int kTileM, int kTileN>
__device__ __forceinline__ TilePlace tile_place(const GemmProblem& problem) {
  constexpr int kBand = 8;
  const int tiles_m = ceil_div(problem.m, kTileM), tiles_n = ceil_div(problem.n, kTileN);
  const int tile = int(blockIdx.x), band = tile / (kBand * tiles_n), place = tile % (kBand * tiles_n);
  const int height = min(kBand, tiles_m - band * kBand);
  return {(band * kBand + place % height) * kTileM, place / height * kTileN};
}

}  // namespace taper::ops
