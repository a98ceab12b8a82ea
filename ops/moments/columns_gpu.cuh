#pragma once
// How batch norm's kernels divide an image batch: in channels_last memory it is a matrix with one row for
// each pixel and one column for each channel. For .cu files only.
//
// threadIdx.x runs along packs of 16 bytes of channels, threadIdx.y along rows. A block takes a chunk of
// rows, so a thread meets its few channels in every row it reads and keeps their values in registers. A warp
// covers whole rows where there are few channels: it always reads up to 512 contiguous bytes. PyTorch's
// counterpart: the channels-last kernels of ATen/native/cuda/Normalization.cuh.

#include <algorithm>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/channels_gpu.cuh"
#include "taper/ops/copy/copy.h"

namespace taper::ops {

inline constexpr int kColumnsBlock = 256;  // threads

struct Columns {
  int64_t rows = 0;
  int64_t rows_per_chunk = 0;
  int channels = 0;

  /// The first channel of this thread; may be past the end.
  template <int kPack>
  __device__ __forceinline__ int channel() const {
    return int(blockIdx.x * blockDim.x + threadIdx.x) * kPack;
  }
  /// The first row of this thread; may be past the end.
  __device__ __forceinline__ int64_t first_row() const { return blockIdx.y * rows_per_chunk + threadIdx.y; }
  /// The end of the block's chunk, which is never empty.
  __device__ __forceinline__ int64_t end_row() const {
    const int64_t end = (blockIdx.y + 1) * rows_per_chunk;
    return end < rows ? end : rows;
  }

  /// Visits the thread's rows, kAtOnce at a time: from = load(row) for each row, then use(row, from, live)
  /// for each, so that kAtOnce rows are read at the same time. (In a plain unrolled loop the compiler tests
  /// for the end between the reads, so only one is under way.) All threads of a block make equally many
  /// calls; those beyond the end load the last row again, and `live` is false.
  template <int kAtOnce, class Load, class Use>
  __device__ __forceinline__ void for_each_row(const Load& load, const Use& use) const {
    const int64_t end = end_row();
    for (int64_t begin = blockIdx.y * rows_per_chunk; begin < end; begin += kAtOnce * blockDim.y) {
      const int64_t first = begin + threadIdx.y;
      decltype(load(first)) from[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int64_t row = first + k * blockDim.y;
        from[k] = load(row < end ? row : end - 1);
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int64_t row = first + k * blockDim.y;
        use(row, from[k], row < end);
      }
    }
  }
};

struct ColumnsLaunch {
  Columns size;
  dim3 grid, block;
  int chunks() const { return int(grid.y); }
};

/// For about `blocks_per_multiprocessor` blocks, and at least 4 rows a thread. x has elements.
inline ColumnsLaunch columns_launch(const Tensor& x, int pack, int blocks_per_multiprocessor) {
  const int64_t channels = x.size(1), rows = x.numel() / channels, packs = channels / pack;
  unsigned wide = 1;
  while (wide < 32 && wide < packs) wide *= 2;
  const unsigned deep = kColumnsBlock / wide;
  const int64_t strips = ceil_div(packs, wide);
  const int64_t blocks = int64_t(gpu::properties().multiprocessors) * blocks_per_multiprocessor;
  const int64_t wanted = std::clamp<int64_t>(blocks / strips, 1, ceil_div(rows, deep * 4));
  const int64_t rows_per_chunk = ceil_div(rows, wanted);
  const int64_t chunks = ceil_div(rows, rows_per_chunk);
  return {{rows, rows_per_chunk, int(channels)}, dim3(unsigned(strips), unsigned(chunks)), dim3(wide, deep)};
}

// ------------------------------------------------------------------------------------------ parameters

/// One value for each channel, in any floating-point dtype; aligned to 16 bytes, or null.
struct ChannelParameter {
  const void* data = nullptr;
  DType dtype = kFloat32;

  /// values = those of `channel` and its neighbours, or `otherwise` if the parameter is null.
  template <int kPack, class Value>
  __device__ __forceinline__ void load(int channel, Value (&values)[kPack], Value otherwise) const {
    if (data == nullptr) {
#pragma unroll
      for (int i = 0; i < kPack; ++i) values[i] = otherwise;
      return;
    }
    switch (dtype) {
      case kFloat64:
        return load_channels(static_cast<const double*>(data) + channel, values);
      case kFloat16:
        return load_channels(static_cast<const __half*>(data) + channel, values);
      case kBFloat16:
        return load_channels(static_cast<const __nv_bfloat16*>(data) + channel, values);
      default:
        return load_channels(static_cast<const float*>(data) + channel, values);
    }
  }
};

/// The parameter as kernels read it; the row keeps the tensor alive.
struct ChannelRow {
  Tensor row;

  /// `parameter` may be undefined.
  explicit ChannelRow(const Tensor& parameter) {
    if (!parameter.defined()) return;
    row = contiguous(parameter);
    if (reinterpret_cast<uintptr_t>(row.data_ptr()) % 16 != 0) row = clone(row);
  }
  operator ChannelParameter() const {
    return row.defined() ? ChannelParameter{row.data_ptr(), row.dtype()} : ChannelParameter{};
  }
};

/// What forward computes and backward recomputes to the same bits.
template <class Value>
__device__ __forceinline__ Value normalized(Value x, Value mean, Value scale, Value bias) {
  return (x - mean) * scale + bias;
}

// ------------------------------------------------------------------------------------------ down the rows

/// Merges the items of the threads with one threadIdx.x into those of threadIdx.y == 0, by pairs, in an order
/// that depends on the block's shape alone. blockDim.y is a power of two. `shared` has room for kPack items
/// of half the block. All threads of the block take part.
template <class Item, int kPack>
__device__ __forceinline__ void merge_rows(Item (&items)[kPack], Item* shared) {
  for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
    Item* slot = shared + (threadIdx.y % half) * blockDim.x + threadIdx.x;
    const unsigned step = half * blockDim.x;
    if (threadIdx.y >= half && threadIdx.y < 2 * half) {
#pragma unroll
      for (int i = 0; i < kPack; ++i) slot[unsigned(i) * step] = items[i];
    }
    __syncthreads();
    if (threadIdx.y < half) {
#pragma unroll
      for (int i = 0; i < kPack; ++i) items[i].merge(slot[unsigned(i) * step]);
    }
    __syncthreads();
  }
}

/// Two sums.
template <class Value>
struct SumPair {
  Value first, second;

  __device__ __forceinline__ void merge(const SumPair& other) {
    first += other.first;
    second += other.second;
  }
};

/// Count, mean and sum of squared distances from the mean.
template <class Value>
struct Moments {
  Value count, mean, m2;

  /// Merges by the formula of Chan, Golub and LeVeque, 1979 (column_moments_cpu.h).
  __device__ __forceinline__ void merge(const Moments& other) {
    if (other.count == 0) return;
    const Value total = count + other.count, share = other.count / total, delta = other.mean - mean;
    mean += delta * share;
    m2 += other.m2 + delta * delta * count * share;
    count = total;
  }
};

// The kernels that merge the chunks' results: kFinishWide channels a block, kFinishDeep threads each.
inline constexpr int kFinishWide = 32;
inline constexpr int kFinishDeep = 16;
inline constexpr int kFinishBlock = kFinishWide * kFinishDeep;  // threads

inline unsigned finish_blocks(int channels) {
  return unsigned(ceil_div(channels, kFinishWide));
}

}  // namespace taper::ops
