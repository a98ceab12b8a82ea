#pragma once
// Kernels over all elements of many tensors in a few launches. The table of tensors travels in the launch's
// arguments, so nothing is allocated or copied. PyTorch's counterpart: ATen/native/cuda/MultiTensorApply.cuh.
// For .cu files only.

#include <algorithm>
#include <vector>

#include "taper/core/base/ceil_div.h"
#include "taper/core/tensor.h"
#include "taper/ops/copy/strided_gpu.cuh"

namespace taper::ops {

inline constexpr int kTableTensors = 192;     // of each list in one launch: more than ResNet-50 has
inline constexpr int64_t kTableChunk = 4096;  // elements of one tensor that a block works on
inline constexpr int kTablePack = 4;          // elements a thread takes at a time

/// Tensors as kernels take them. Row k has one tensor of each of kLists lists, all with one shape and memory
/// order. A list may lack the tensor: its address is null. At most 12 KB; kernels can take 32.
template <int kLists>
struct TensorTable {
  int count = 0;
  uint32_t first_block[kTableTensors + 1] = {};  ///< block first_block[k] is the first of row k
  int64_t numel[kTableTensors] = {};
  char* data[kLists][kTableTensors] = {};
  DType dtype[kLists][kTableTensors] = {};
  bool aligned[kTableTensors] = {};  ///< whole packs are aligned, in all lists
};

/// The part of one row that the current block works on.
struct TableChunk {
  int row;
  int64_t begin, end;
};

template <int kLists>
__device__ __forceinline__ TableChunk chunk_of_block(const TensorTable<kLists>& table) {
  int row = 0;  // the last row that begins at this block or before
  for (int above = table.count; above - row > 1;) {
    const int middle = (row + above) / 2;
    (table.first_block[middle] <= blockIdx.x ? row : above) = middle;
  }
  const int64_t begin = int64_t(blockIdx.x - table.first_block[row]) * kTableChunk;
  return {row, begin, min(begin + kTableChunk, table.numel[row])};
}

/// Loads elements at, ..., at + count - 1 of a row's tensor, as T.
template <class T>
__device__ __forceinline__ void load_table_pack(const char* data, DType dtype, bool whole, int64_t at,
                                                int count, T (&values)[kTablePack]) {
  dispatch_device_float(dtype, [&]<class Stored>() {
    const Stored* from = reinterpret_cast<const Stored*>(data) + at;
    if (whole) {
      const auto pack = *reinterpret_cast<const Pack<Stored, kTablePack>*>(from);
#pragma unroll
      for (int i = 0; i < kTablePack; ++i) values[i] = device_cast<T>(pack.values[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kTablePack; ++i) values[i] = i < count ? device_cast<T>(from[i]) : T(0);
    }
  });
}

template <class T>
__device__ __forceinline__ void store_table_pack(char* data, DType dtype, bool whole, int64_t at, int count,
                                                 const T (&values)[kTablePack]) {
  dispatch_device_float(dtype, [&]<class Stored>() {
    Stored* to = reinterpret_cast<Stored*>(data) + at;
    if (whole) {
      Pack<Stored, kTablePack> pack;
#pragma unroll
      for (int i = 0; i < kTablePack; ++i) pack.values[i] = device_cast<Stored>(values[i]);
      *reinterpret_cast<Pack<Stored, kTablePack>*>(to) = pack;
    } else {
#pragma unroll
      for (int i = 0; i < kTablePack; ++i) {
        if (i < count) to[i] = device_cast<Stored>(values[i]);
      }
    }
  });
}

using TensorLists = std::vector<const std::vector<Tensor>*>;

/// Calls body.operator()<T>(table, blocks) for tables that cover all nonempty tensors: first those that
/// compute in f32, then those in f64, by the first list's dtypes. `blocks` is the table's grid.
template <int kLists, class Body>
void for_each_table(const TensorLists& lists, Body&& body) {
  const std::vector<Tensor>& leading = *lists[0];
  const auto fill = [&]<class T>(bool wide) {
    TensorTable<kLists> table;
    const auto flush = [&] {
      if (table.count > 0) body.template operator()<T>(table, table.first_block[table.count]);
      table.count = 0;
    };
    for (size_t i = 0; i < leading.size(); ++i) {
      const int64_t numel = leading[i].numel();
      if (numel == 0 || (leading[i].dtype() == kFloat64) != wide) continue;
      const int row = table.count++;
      table.numel[row] = numel;
      table.aligned[row] = true;
      for (int list = 0; list < kLists; ++list) {
        const Tensor& x = (*lists[size_t(list)])[i];
        table.data[list][row] = x.defined() ? static_cast<char*>(x.data_ptr()) : nullptr;
        if (!x.defined()) continue;
        table.dtype[list][row] = x.dtype();
        const size_t pack_bytes = std::min<size_t>(size_of(x.dtype()) * kTablePack, 16);
        if (reinterpret_cast<uintptr_t>(x.data_ptr()) % pack_bytes != 0) table.aligned[row] = false;
      }
      table.first_block[row + 1] = table.first_block[row] + uint32_t(ceil_div(numel, kTableChunk));
      if (table.count == kTableTensors) flush();
    }
    flush();
  };
  fill.template operator()<float>(false);
  fill.template operator()<double>(true);
}

}  // namespace taper::ops
