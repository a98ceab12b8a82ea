// Adding by index, without atomics. One thread adds everything that goes to one element, in the order of the
// source, so the sums are equal to the bit on every run. (PyTorch sorts the indices for that:
// ATen/native/cuda/Indexing.cu.)

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/device_check.h"
#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/walk_gpu.cuh"
#include "taper/ops/index/index_gpu.h"
#include "taper/ops/lanes.h"
#include "taper/ops/reduce/block_reduce.cuh"

namespace taper::ops {
namespace {

constexpr unsigned kBlock = 256;

/// What both kernels take: source[outer][size][inner] is added to sums[outer][to_size][inner].
template <class T, class Stored>
struct AddTask {
  T* sums;
  const Stored* source;
  const int64_t* index;
  int64_t size, to_size, inner;

  __device__ __forceinline__ int64_t checked(int64_t at) const {
    gpu::device_check(at >= 0 && at < to_size, "index_add, scatter_add: an index is out of range");
    return at;
  }
};

/// Adds slice k of the source to slice index[k] of the sums. A block owns `owned` neighbouring slices of one
/// outer element, and 256 of their inner elements. It reads all indices, 256 at a time, and lists in order
/// those that point to its slices. Then it goes through the list with a thread for each inner element. Grid:
/// (owned parts, inner parts, outer). The indices come from the L2 cache; the source and the sums move once.
/// Limited by memory bandwidth if slices are long.
template <class T, class Stored>
__global__ void __launch_bounds__(kBlock)
    add_slices(AddTask<T, Stored> task, int64_t owned, int64_t index_outer_stride) {
  __shared__ int found[kBlock];  // positions of the current indices that point to the block's slices
  __shared__ int found_by_warp[kBlock / kWarp];
  const int64_t first = blockIdx.x * owned, last = min(first + owned, task.to_size);
  const int64_t inner = blockIdx.y * int64_t(kBlock) + threadIdx.x, outer = blockIdx.z;
  const int64_t* index = task.index + outer * index_outer_stride;
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int64_t begin = 0; begin < task.size; begin += kBlock) {
    const int64_t k = begin + threadIdx.x;
    const int64_t at = k < task.size ? task.checked(index[k]) : -1;
    const bool is_mine = at >= first && at < last;
    const unsigned votes = __ballot_sync(kFullWarp, is_mine);
    if (lane == 0) found_by_warp[warp] = __popc(votes);
    __syncthreads();
    int before = 0, total = 0;
    for (unsigned w = 0; w < kBlock / kWarp; ++w) {
      if (w < warp) before += found_by_warp[w];
      total += found_by_warp[w];
    }
    if (is_mine) found[before + __popc(votes & ((1u << lane) - 1))] = int(threadIdx.x);
    __syncthreads();
    if (inner < task.inner) {
      for (int i = 0; i < total; ++i) {
        const int64_t from = begin + found[i];
        T& sum = task.sums[(outer * task.to_size + index[from]) * task.inner + inner];
        sum = T(sum + device_cast<T>(task.source[(outer * task.size + from) * task.inner + inner]));
      }
    }
    __syncthreads();
  }
}

/// One thread for each lane, 256 to a block, adds its elements one after the other; neighbouring threads read
/// neighbouring elements. For each element, reads the source and 8 bytes of index once, and reads and writes
/// the sum that the index points to. Limited by memory bandwidth. For many lanes.
template <class T, class Stored>
__global__ void __launch_bounds__(kBlock)
    add_lanes(AddTask<T, Stored> task, int64_t lanes, GpuDivisor by_inner) {
  const int64_t lane = blockIdx.x * int64_t(kBlock) + threadIdx.x;
  if (lane >= lanes) return;
  int64_t inner;
  const int64_t outer = by_inner.divide(lane, inner);
  for (int64_t k = 0; k < task.size; ++k) {
    const int64_t from = (outer * task.size + k) * task.inner + inner;
    T& sum = task.sums[(outer * task.to_size + task.checked(task.index[from])) * task.inner + inner];
    sum = T(sum + device_cast<T>(task.source[from]));
  }
}

constexpr int64_t kMaxGrid = 65535;  // along y and z

template <class T, class Stored>
void launch_add_slices(const char* name, const AddTask<T, Stored>& task, int64_t outer,
                       int64_t index_outer_stride) {
  const int64_t inner_parts = ceil_div(task.inner, kBlock);
  TAPER_CHECK(outer <= kMaxGrid && inner_parts <= kMaxGrid,
              "{}: on the GPU at most 65535 outer slices, of at most 65535 * 256 elements, fit; got {} of {}",
              name, outer, task.inner);
  // Four blocks a multiprocessor: enough to fill the device, and few enough that the indices are not read too
  // often.
  const int64_t wanted = gpu::properties().multiprocessors * 4;
  const int64_t parts = std::clamp<int64_t>(wanted / (outer * inner_parts), 1, task.to_size);
  const int64_t owned = ceil_div(task.to_size, parts);
  gpu::launch(name, add_slices<T, Stored>,
              {.grid = dim3(unsigned(ceil_div(task.to_size, owned)), unsigned(inner_parts), unsigned(outer)),
               .block = kBlock},
              task, owned, index_outer_stride);
}

/// Calls body(lanes of the source, task), with the task in the types of the sums and of the source.
template <class Body>
void dispatch_task(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source,
                   const Body& body) {
  const gpu::DeviceGuard guard(self.device().index);
  const Lanes to = lanes_of(self, axis), from = lanes_of(source, axis);
  dispatch_stored(source.dtype(), [&]<class Stored>() {
    constexpr bool is_half = std::is_same_v<Stored, __half> || std::is_same_v<Stored, __nv_bfloat16>;
    if constexpr (!std::is_same_v<Stored, bool>) {
      using T = std::conditional_t<is_half, float, Stored>;
      body(from,
           AddTask<T, Stored>{static_cast<T*>(self.data_ptr()), static_cast<const Stored*>(source.data_ptr()),
                              index.data<int64_t>(), from.size, to.size, from.inner});
    }
  });
}

}  // namespace

void index_add_gpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source) {
  if (source.numel() == 0) return;
  dispatch_task(self, axis, index, source, [](const Lanes& from, const auto& task) {
    launch_add_slices("index_add", task, from.outer, 0);
  });
}

void scatter_add_gpu(const Tensor& self, int64_t axis, const Tensor& index, const Tensor& source) {
  if (source.numel() == 0) return;
  const auto add = [&]<class T, class Stored>(const Lanes& from, const AddTask<T, Stored>& task) {
    // A few long lanes are shared by blocks. Else there are enough lanes to give each a thread.
    const int64_t few = gpu::properties().multiprocessors * 64;
    if (from.inner == 1 && from.size > 64 && from.outer <= few && from.outer <= kMaxGrid) {
      return launch_add_slices("scatter_add", task, from.outer, from.size);
    }
    gpu::launch("scatter_add", add_lanes<T, Stored>,
                {.grid = unsigned(ceil_div(from.count(), kBlock)), .block = kBlock}, task, from.count(),
                GpuDivisor(from.inner, from.count()));
  };
  dispatch_task(self, axis, index, source, add);
}

}  // namespace taper::ops
