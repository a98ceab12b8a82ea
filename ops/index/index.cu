// Reading by index. Every kernel has one thread for each word it writes, and reads and writes each word once.
// Limited by memory bandwidth; for scattered indices, by the 32-byte sectors that they touch.

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/device_check.h"
#include "taper/core/gpu/launch.h"
#include "taper/ops/copy/walk_gpu.cuh"
#include "taper/ops/index/index_gpu.h"
#include "taper/ops/lanes.h"

namespace taper::ops {
namespace {

constexpr unsigned kBlock = 256;

unsigned blocks_for(int64_t threads) {
  return unsigned(ceil_div(threads, kBlock));
}

/// Lanes with a fast division by each size, for element indices below `limit`.
struct GpuLaneWalk {
  int64_t size, inner;
  GpuDivisor by_size, by_inner;

  GpuLaneWalk(const Lanes& lanes, int64_t limit)
      : size(lanes.size), inner(lanes.inner), by_size(lanes.size, limit), by_inner(lanes.inner, limit) {}
};

/// result[outer][k][i] = x[outer][index[k]][i], or with kEach x[outer][index[outer][k][i]][i]. Each thread
/// reads and writes a word of 1 to 16 bytes. With kEach it also reads 8 bytes of index; else the index comes
/// from the caches.
template <class Word, bool kEach>
__global__ void __launch_bounds__(kBlock) read_at(const Word* x, int64_t x_size, const int64_t* index,
                                                  Word* result, int64_t words, GpuLaneWalk walk) {
  const int64_t i = blockIdx.x * int64_t(kBlock) + threadIdx.x;
  if (i >= words) return;
  int64_t inner, k;
  const int64_t outer = walk.by_size.divide(walk.by_inner.divide(i, inner), k);
  const int64_t at = index[kEach ? i : k];
  gpu::device_check(at >= 0 && at < x_size, "index_select, gather: an index is out of range");
  result[i] = x[(outer * x_size + at) * walk.inner + inner];
}

/// Writes ones and zeros: 8 bytes a thread, with the index from the caches.
__global__ void __launch_bounds__(kBlock)
    one_hot(const int64_t* index, int64_t* result, int64_t numel, int64_t classes, GpuDivisor by_classes) {
  const int64_t i = blockIdx.x * int64_t(kBlock) + threadIdx.x;
  if (i >= numel) return;
  int64_t c;
  const int64_t at = index[by_classes.divide(i, c)];
  gpu::device_check(at >= 0 && at < classes, "one_hot: an index is out of range");
  result[i] = at == c;
}

/// Calls body with the widest word that divides slices of `slice_bytes` bytes at both addresses.
template <class Body>
void dispatch_word(int64_t slice_bytes, const void* a, const void* b, Body&& body) {
  const uintptr_t bits =
      uintptr_t(slice_bytes) | reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b);
  if (bits % 16 == 0) return body.template operator()<uint4>();
  if (bits % 8 == 0) return body.template operator()<uint64_t>();
  if (bits % 4 == 0) return body.template operator()<uint32_t>();
  if (bits % 2 == 0) return body.template operator()<uint16_t>();
  return body.template operator()<uint8_t>();
}

/// Launches the kernel over the `lanes` of the result, counted in words.
template <class Word, bool kEach>
void launch_read_at(const char* name, const Tensor& x, int64_t x_size, const Tensor& index,
                    const Tensor& result, const Lanes& lanes) {
  const int64_t words = lanes.outer * lanes.size * lanes.inner;
  gpu::launch(name, read_at<Word, kEach>, {.grid = blocks_for(words), .block = kBlock},
              static_cast<const Word*>(x.data_ptr()), x_size, index.data<int64_t>(),
              static_cast<Word*>(result.data_ptr()), words, GpuLaneWalk(lanes, words));
}

}  // namespace

void index_select_gpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result) {
  if (result.numel() == 0) return;
  const gpu::DeviceGuard guard(x.device().index);
  const int64_t element_bytes = int64_t(size_of(x.dtype()));
  Lanes lanes = lanes_of(result, axis);
  dispatch_word(lanes.inner * element_bytes, x.data_ptr(), result.data_ptr(), [&]<class Word>() {
    lanes.inner = lanes.inner * element_bytes / int64_t(sizeof(Word));
    launch_read_at<Word, false>("index_select", x, x.shape()[axis], index, result, lanes);
  });
}

void gather_gpu(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& result) {
  if (result.numel() == 0) return;
  const gpu::DeviceGuard guard(x.device().index);
  const int64_t x_size = x.dim() == 0 ? 1 : x.shape()[axis];
  dispatch_word(int64_t(size_of(x.dtype())), nullptr, nullptr, [&]<class Word>() {
    launch_read_at<Word, true>("gather", x, x_size, index, result, lanes_of(index, axis));
  });
}

void one_hot_gpu(const Tensor& index, int64_t classes, const Tensor& result) {
  if (result.numel() == 0) return;
  const gpu::DeviceGuard guard(index.device().index);
  gpu::launch("one_hot", one_hot, {.grid = blocks_for(result.numel()), .block = kBlock},
              index.data<int64_t>(), result.data<int64_t>(), result.numel(), classes,
              GpuDivisor(classes, result.numel()));
}

}  // namespace taper::ops
