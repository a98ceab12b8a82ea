// The GPU's max pooling. PyTorch's counterpart: ATen/native/cuda/DilatedMaxPool2d.cu.

#include <cmath>

#include "taper/core/base/ceil_div.h"
#include "taper/core/gpu/device_check.h"
#include "taper/ops/pool/image_grid_gpu.cuh"
#include "taper/ops/pool/pool2d_gpu.h"

namespace taper::ops {
namespace {

constexpr int kBlocksPerMultiprocessor = 3;  // at least: 80 registers per thread

// ------------------------------------------------------------------------------------------ kernels

/// The largest value of each window and, unless `indices` is null, its index. One thread for each output
/// pixel and 16 bytes of channels. Overlapping windows meet in the caches: memory reads x once and writes y
/// and the indices once. The indices, four times as wide as f16, are most of the traffic.
template <class T, int kPack>
__global__ void __launch_bounds__(kImageBlock, kBlocksPerMultiprocessor)
    max_pool2d(ImageGrid grid, MaxPoolAxis rows, MaxPoolAxis columns, const T* x, T* y, int64_t* indices) {
  using Value = AccumulationType<T>;
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= grid.count) return;
  const ImageGrid::Place at = grid.place(index);
  const int64_t pixel_stride = int64_t(grid.packs.divisor) * kPack;
  x += at.image * rows.input * columns.input * pixel_stride + at.pack * kPack;
  const int h_begin = rows.begin(at.row), h_end = rows.end(at.row);
  const int w_begin = columns.begin(at.column), w_end = columns.end(at.column);

  Value largest[kPack];
  int place[kPack];
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    largest[i] = Value(-INFINITY);
    place[i] = h_begin * columns.input + w_begin;
  }
  for (int h = h_begin; h < h_end; h += rows.dilation) {
#pragma unroll 3
    for (int w = w_begin; w < w_end; w += columns.dilation) {
      const int here = h * columns.input + w;
      Value values[kPack];
      load_channels(x + here * pixel_stride, values);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        const bool larger = values[i] > largest[i] || values[i] != values[i];
        largest[i] = larger ? values[i] : largest[i];
        place[i] = larger ? here : place[i];
      }
    }
  }
  const int64_t out =
      ((at.image * rows.output + at.row) * columns.output + at.column) * pixel_stride + at.pack * kPack;
  store_channels(y + out, largest);
  if (indices != nullptr) store_channels(indices + out, place);
}

constexpr int kTile = 2;

/// grad_x[h, w] = the sum of grad over the windows whose maximum is there. Each input pixel asks the windows
/// that see it, in order, so no two threads add to one element. One thread for each kTile x kTile input
/// pixels and 16 bytes of channels: a window that several pixels see is read once for all. grad and the
/// indices come from memory once, and from the caches about four times for windows of 3 with stride 2.
template <class T, int kPack>
__global__ void __launch_bounds__(kImageBlock, kBlocksPerMultiprocessor)
    max_pool2d_backward(ImageGrid tiles, MaxPoolAxis rows, MaxPoolAxis columns, const T* grad,
                        const int64_t* indices, T* grad_x) {
  using Value = AccumulationType<T>;
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= tiles.count) return;
  const ImageGrid::Place at = tiles.place(index);
  const int64_t pixel_stride = int64_t(tiles.packs.divisor) * kPack;
  const int height = rows.input, width = columns.input;
  const int h = at.row * kTile, w = at.column * kTile;
  const int p_last = rows.last_window(min(h + kTile, height) - 1);
  const int q_last = columns.last_window(min(w + kTile, width) - 1);
  const int64_t first = at.image * rows.output * columns.output * pixel_stride + at.pack * kPack;

  Value sums[kTile][kTile][kPack] = {};
  for (int p = rows.first_window(h); p <= p_last; ++p) {
    for (int q = columns.first_window(w); q <= q_last; ++q) {
      const int64_t from = first + (int64_t(p) * columns.output + q) * pixel_stride;
      Value values[kPack];
      int64_t places[kPack];
      load_channels(grad + from, values);
      load_channels(indices + from, places);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        gpu::device_check(places[i] >= 0 && places[i] < int64_t(height) * width,
                          "max_pool2d_backward: an index lies outside the image");
        const int place = int(places[i]) - (h * width + w);
#pragma unroll
        for (int r = 0; r < kTile; ++r) {
#pragma unroll
          for (int s = 0; s < kTile; ++s) {
            if (place == r * width + s) sums[r][s][i] += values[i];
          }
        }
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kTile; ++r) {
#pragma unroll
    for (int s = 0; s < kTile; ++s) {
      if (h + r >= height || w + s >= width) continue;
      const int64_t to = ((at.image * height + h + r) * width + w + s) * pixel_stride + at.pack * kPack;
      store_channels(grad_x + to, sums[r][s]);
    }
  }
}

/// y = x at the indices. One thread for each output pixel and 16 bytes of channels. Limited by the scattered
/// reads of x, in 32-byte sectors, and by the 8 bytes of each index.
template <class T, int kPack>
__global__ void __launch_bounds__(kImageBlock, kBlocksPerMultiprocessor)
    max_pool2d_gather(ImageGrid grid, int64_t pixels, const T* x, const int64_t* indices, T* y) {
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= grid.count) return;
  const ImageGrid::Place at = grid.place(index);
  const int64_t pixel_stride = int64_t(grid.packs.divisor) * kPack;
  x += at.image * pixels * pixel_stride + at.pack * kPack;
  const int64_t out =
      ((at.image * grid.rows.divisor + at.row) * grid.columns.divisor + at.column) * pixel_stride +
      at.pack * kPack;
  int64_t places[kPack];
  load_channels(indices + out, places);
  T values[kPack];
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    gpu::device_check(places[i] >= 0 && places[i] < pixels,
                      "max_pool2d_gather: an index lies outside the image");
    values[i] = x[places[i] * pixel_stride + i];
  }
  store_channels(y + out, values);
}

}  // namespace

// ------------------------------------------------------------------------------------------ launches

void max_pool2d_gpu(const Tensor& x, const MaxPoolAxes& axes, const Tensor& y, const Tensor& indices) {
  const gpu::DeviceGuard guard(x.device().index);
  void* const places = indices.defined() ? indices.data_ptr() : nullptr;
  dispatch_channels(x.dtype(), x.size(1), {x.data_ptr(), y.data_ptr(), places}, [&]<class T, int kPack>() {
    for_each_image_grid(y.size(0), y.size(2), y.size(3), y.size(1) / kPack, [&](const ImageGrid& grid) {
      gpu::launch("max_pool2d", max_pool2d<T, kPack>, {.grid = image_blocks(grid), .block = kImageBlock},
                  grid, axes.rows, axes.columns, static_cast<const T*>(x.data_ptr()),
                  static_cast<T*>(y.data_ptr()), static_cast<int64_t*>(places));
    });
  });
}

void max_pool2d_backward_gpu(const Tensor& grad, const Tensor& indices, const MaxPoolAxes& axes,
                             const Tensor& grad_x) {
  const gpu::DeviceGuard guard(grad.device().index);
  dispatch_channels(grad.dtype(), grad.size(1), {grad.data_ptr(), grad_x.data_ptr(), indices.data_ptr()},
                    [&]<class T, int kPack>() {
                      const int64_t tile_rows = ceil_div(grad_x.size(2), kTile),
                                    tile_columns = ceil_div(grad_x.size(3), kTile);
                      for_each_image_grid(grad_x.size(0), tile_rows, tile_columns, grad_x.size(1) / kPack,
                                          [&](const ImageGrid& tiles) {
                                            gpu::launch("max_pool2d_backward", max_pool2d_backward<T, kPack>,
                                                        {.grid = image_blocks(tiles), .block = kImageBlock},
                                                        tiles, axes.rows, axes.columns,
                                                        static_cast<const T*>(grad.data_ptr()),
                                                        static_cast<const int64_t*>(indices.data_ptr()),
                                                        static_cast<T*>(grad_x.data_ptr()));
                                          });
                    });
}

void max_pool2d_gather_gpu(const Tensor& x, const Tensor& indices, const Tensor& y) {
  const gpu::DeviceGuard guard(x.device().index);
  dispatch_channels(x.dtype(), x.size(1), {y.data_ptr(), indices.data_ptr()}, [&]<class T, int kPack>() {
    for_each_image_grid(y.size(0), y.size(2), y.size(3), y.size(1) / kPack, [&](const ImageGrid& grid) {
      gpu::launch("max_pool2d_gather", max_pool2d_gather<T, kPack>,
                  {.grid = image_blocks(grid), .block = kImageBlock}, grid, x.size(2) * x.size(3),
                  static_cast<const T*>(x.data_ptr()), static_cast<const int64_t*>(indices.data_ptr()),
                  static_cast<T*>(y.data_ptr()));
    });
  });
}

}  // namespace taper::ops
