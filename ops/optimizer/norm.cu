// The GPU's norm over all elements of many tensors.

#include <cmath>

#include "taper/core/base/ceil_div.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/optimizer/optimizer_gpu.h"
#include "taper/ops/optimizer/tensor_table.cuh"
#include "taper/ops/reduce/block_reduce.cuh"

namespace taper::ops {
namespace {

/// sums[block] = the sum of the squares in the block's chunk, in f64, so that nothing overflows and no digits
/// are lost. A block of 256 threads takes 4096 elements. Reads every element once; limited by memory
/// bandwidth.
template <class T>
__global__ void __launch_bounds__(kLoopBlock)
    square_sums(const __grid_constant__ TensorTable<1> table, double* sums) {
  const TableChunk chunk = chunk_of_block(table);
  double sum = 0;
  for (int64_t at = chunk.begin + threadIdx.x * kTablePack; at < chunk.end; at += kLoopBlock * kTablePack) {
    const int count = int(min(int64_t(kTablePack), chunk.end - at));
    const bool whole = count == kTablePack && table.aligned[chunk.row];
    T values[kTablePack];
    load_table_pack(table.data[0][chunk.row], table.dtype[0][chunk.row], whole, at, count, values);
#pragma unroll
    for (int i = 0; i < kTablePack; ++i) sum += double(values[i]) * double(values[i]);
  }
  sum = block_reduce(sum, fold::Sum());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

/// norm = the root of the sum of all sums, in an order that depends only on their number. One block of 256
/// threads reads 8 bytes for each 4096 elements. Limited by latency.
template <class T>
__global__ void __launch_bounds__(kLoopBlock) root_of_sums(const double* sums, int64_t count, T* norm) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kLoopBlock) sum += sums[i];
  sum = block_reduce(sum, fold::Sum());
  if (threadIdx.x == 0) *norm = T(std::sqrt(sum));
}

}  // namespace

void global_norm_gpu(const std::vector<Tensor>& tensors, const Tensor& norm) {
  const gpu::DeviceGuard guard(norm.device().index);
  int64_t blocks = 0;
  for (const Tensor& x : tensors) blocks += ceil_div(x.numel(), kTableChunk);
  const Tensor sums = empty({blocks}, {.dtype = kFloat64, .device = norm.device()});
  double* next = sums.data<double>();
  for_each_table<1>({&tensors}, [&]<class T>(const TensorTable<1>& table, uint32_t grid) {
    gpu::launch("square_sums", square_sums<T>, {.grid = grid, .block = kLoopBlock}, table, next);
    next += grid;
  });
  const auto finish = [&]<class T>() {
    gpu::launch("root_of_sums", root_of_sums<T>, {.grid = 1, .block = kLoopBlock}, sums.data<double>(),
                blocks, norm.data<T>());
  };
  norm.dtype() == kFloat64 ? finish.template operator()<double>() : finish.template operator()<float>();
}

}  // namespace taper::ops
