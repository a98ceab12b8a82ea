#pragma once
// The kernel behind the GPU's updates: one update of every element of many tensors. For .cu files only.

#include "taper/ops/optimizer/tensor_table.cuh"

namespace taper::ops {

/// A number that comes with the launch, or from device memory if there is a pointer.
struct DeviceNumber {
  double value = 0;
  const double* on_device = nullptr;

  DeviceNumber(double value_, const Tensor& tensor) : value(value_) {
    if (tensor.defined()) on_device = tensor.data<double>();
  }
  __device__ __forceinline__ double get() const { return on_device ? *on_device : value; }
};

/// Runs update(x) on every element, where x[k] is its value in list k, and stores the lists that it changes.
/// update.prepare<T>(row) is called once in each thread, with the table's row that the block works on.
/// With kCopies the table has one list more, which is not read and receives list 0 where it has a tensor.
/// A block of 256 threads takes 4096 elements; a thread takes 4 at a time, 16 bytes of each f32 list. Reads
/// every list and writes the changed ones once; limited by memory bandwidth: 20 bytes an element for SGD with
/// momentum in f32, 28 for AdamW.
template <class T, int kLists, bool kCopies, class Update>
__global__ void __launch_bounds__(kLoopBlock, sizeof(T) == 8 ? 2 : 4)
    update_tensors(const __grid_constant__ TensorTable<kLists + kCopies> table, const float* skip,
                   Update update) {
  if (skip && *skip != 0) return;  // in all threads alike
  const TableChunk chunk = chunk_of_block(table);
  const auto factors = update.template prepare<T>(chunk.row);
  for (int64_t at = chunk.begin + threadIdx.x * kTablePack; at < chunk.end; at += kLoopBlock * kTablePack) {
    const int count = int(min(int64_t(kTablePack), chunk.end - at));
    const bool whole = count == kTablePack && table.aligned[chunk.row];
    T values[kLists][kTablePack];
#pragma unroll
    for (int k = 0; k < kLists; ++k) {
      load_table_pack(table.data[k][chunk.row], table.dtype[k][chunk.row], whole, at, count, values[k]);
    }
#pragma unroll
    for (int i = 0; i < kTablePack; ++i) {
      T x[kLists];
#pragma unroll
      for (int k = 0; k < kLists; ++k) x[k] = values[k][i];
      update(x, factors);
#pragma unroll
      for (int k = 0; k < kLists; ++k) values[k][i] = x[k];
    }
#pragma unroll
    for (int k = 0; k < kLists; ++k) {
      if (!Update::writes(k)) continue;
      store_table_pack(table.data[k][chunk.row], table.dtype[k][chunk.row], whole, at, count, values[k]);
    }
    if constexpr (kCopies) {
      char* const copy = table.data[kLists][chunk.row];
      if (copy) store_table_pack(copy, table.dtype[kLists][chunk.row], whole, at, count, values[0]);
    }
  }
}

template <int kLists, bool kCopies = false, class Update>
void run_update(const char* name, const TensorLists& lists, const Update& update,
                const Tensor& skip = Tensor()) {
  using Table = TensorTable<kLists + kCopies>;
  const gpu::DeviceGuard guard((*lists[0])[0].device().index);
  const float* skip_ptr = skip.defined() ? skip.data<float>() : nullptr;
  for_each_table<kLists + kCopies>(lists, [&]<class T>(const Table& table, uint32_t blocks) {
    gpu::launch(name, update_tensors<T, kLists, kCopies, Update>, {.grid = blocks, .block = kLoopBlock},
                table, skip_ptr, update);
  });
}

/// run_update() with copies of list 0, unless there are none.
template <int kLists, class Update>
void run_update_with_copies(const char* name, TensorLists lists, const Update& update, const Tensor& skip,
                            const std::vector<Tensor>& copies) {
  if (copies.empty()) return run_update<kLists>(name, lists, update, skip);
  lists.push_back(&copies);
  run_update<kLists, true>(name, lists, update, skip);
}

}  // namespace taper::ops
