// The GPU's average pooling.

#include "taper/core/base/ceil_div.h"
#include "taper/ops/pool/image_grid_gpu.cuh"
#include "taper/ops/pool/pool2d_gpu.h"

namespace taper::ops {
namespace {

// ------------------------------------------------------------------------------------------ kernels

/// y = the mean of each window. One thread for each output pixel and 16 bytes of channels. Reads x from
/// memory once where windows do not overlap, and writes y once. Limited by memory.
template <class T, int kPack>
__global__ void __launch_bounds__(kImageBlock)
    avg_pool2d(ImageGrid grid, AveragePoolAxis rows, AveragePoolAxis columns, const T* x, T* y) {
  using Sum = AccumulationType<T>;
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= grid.count) return;
  const ImageGrid::Place at = grid.place(index);
  const int64_t pixel_stride = int64_t(grid.packs.divisor) * kPack;
  const PoolWindow h_window = rows.window(at.row), w_window = columns.window(at.column);
  x += at.image * rows.input * columns.input * pixel_stride + at.pack * kPack;

  Sum sums[kPack] = {};
  for (int h = int(h_window.begin); h < int(h_window.end); ++h) {
#pragma unroll 4
    for (int w = int(w_window.begin); w < int(w_window.end); ++w) {
      Sum values[kPack];
      load_channels(x + (int64_t(h) * columns.input + w) * pixel_stride, values);
#pragma unroll
      for (int i = 0; i < kPack; ++i) sums[i] += values[i];
    }
  }
  const Sum scale = Sum(1) / Sum(h_window.divisor * w_window.divisor);
#pragma unroll
  for (int i = 0; i < kPack; ++i) sums[i] *= scale;
  const int64_t out = ((at.image * rows.output + at.row) * columns.output + at.column) * pixel_stride;
  store_channels(y + out + at.pack * kPack, sums);
}

constexpr int kWide = 32;  // packs of channels per block
constexpr int kDeep = 8;   // threads that share a window

/// y = the mean of each window, for large and therefore few windows. A block of kWide x kDeep threads takes
/// one output pixel and kWide packs of its channels. Each row of threads sums every kDeep-th pixel of the
/// window; the sums meet in shared memory and are added in the rows' order. Limited by reading x.
template <class T, int kPack>
__global__ void __launch_bounds__(kWide* kDeep)
    avg_pool2d_large(ImageGrid grid, int channels, AveragePoolAxis rows, AveragePoolAxis columns, const T* x,
                     T* y) {
  using Sum = AccumulationType<T>;
  __shared__ Sum partial[kDeep][kWide * kPack];
  const ImageGrid::Place at = grid.place(blockIdx.x);
  const PoolWindow h_window = rows.window(at.row), w_window = columns.window(at.column);
  const int first_channel = at.pack * kWide * kPack, channel = first_channel + int(threadIdx.x) * kPack;

  Sum sums[kPack] = {};
  if (channel < channels) {
    const int width = int(w_window.end - w_window.begin);
    const int pixels = int(h_window.end - h_window.begin) * width;
    const T* image = x + at.image * rows.input * columns.input * channels + channel;
#pragma unroll 4
    for (int pixel = int(threadIdx.y); pixel < pixels; pixel += kDeep) {
      const int64_t h = h_window.begin + pixel / width, w = w_window.begin + pixel % width;
      Sum values[kPack];
      load_channels(image + (h * columns.input + w) * channels, values);
#pragma unroll
      for (int i = 0; i < kPack; ++i) sums[i] += values[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) partial[threadIdx.y][threadIdx.x * kPack + unsigned(i)] = sums[i];
  __syncthreads();
  const Sum scale = Sum(1) / Sum(h_window.divisor * w_window.divisor);
  const int64_t out = ((at.image * rows.output + at.row) * columns.output + at.column) * channels;
  for (int c = int(threadIdx.y) * kWide + int(threadIdx.x); c < kWide * kPack; c += kWide * kDeep) {
    if (first_channel + c >= channels) break;
    Sum sum = 0;
    for (int row = 0; row < kDeep; ++row) sum += partial[row][c];
    y[out + first_channel + c] = device_cast<T>(sum * scale);
  }
}

/// grad_x[h, w] = the sum of grad / divisor over the windows that see the pixel, in order. One thread for
/// each input pixel and 16 bytes of channels. Reads grad from the caches where windows overlap, and writes
/// grad_x once. Limited by memory.
template <class T, int kPack>
__global__ void __launch_bounds__(kImageBlock)
    avg_pool2d_backward(ImageGrid grid, AveragePoolAxis rows, AveragePoolAxis columns, const T* grad,
                        T* grad_x) {
  using Sum = AccumulationType<T>;
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= grid.count) return;
  const ImageGrid::Place at = grid.place(index);
  const int64_t pixel_stride = int64_t(grid.packs.divisor) * kPack;
  grad += at.image * rows.output * columns.output * pixel_stride + at.pack * kPack;
  const int p_last = rows.last_window(at.row);
  const int q_first = columns.first_window(at.column), q_last = columns.last_window(at.column);

  Sum sums[kPack] = {};
  for (int p = rows.first_window(at.row); p <= p_last; ++p) {
    const int64_t row_divisor = rows.window(p).divisor;
    for (int q = q_first; q <= q_last; ++q) {
      const Sum scale = Sum(1) / Sum(row_divisor * columns.window(q).divisor);
      Sum values[kPack];
      load_channels(grad + (int64_t(p) * columns.output + q) * pixel_stride, values);
#pragma unroll
      for (int i = 0; i < kPack; ++i) sums[i] += values[i] * scale;
    }
  }
  const int64_t to = ((at.image * rows.input + at.row) * columns.input + at.column) * pixel_stride;
  store_channels(grad_x + to + at.pack * kPack, sums);
}

/// Pixels of an axis's largest window.
int64_t largest_window(const AveragePoolAxis& axis) {
  return axis.adaptive ? ceil_div(axis.input, axis.output) + 1 : axis.kernel;
}

constexpr int64_t kLargeWindow = 4 * kDeep;  // pixels

}  // namespace

// ------------------------------------------------------------------------------------------ launches

void avg_pool2d_gpu(const Tensor& x, const AveragePoolAxes& axes, const Tensor& y) {
  const gpu::DeviceGuard guard(x.device().index);
  const bool large = largest_window(axes.rows) * largest_window(axes.columns) >= kLargeWindow;
  dispatch_channels(x.dtype(), x.size(1), {x.data_ptr(), y.data_ptr()}, [&]<class T, int kPack>() {
    const T* from = static_cast<const T*>(x.data_ptr());
    T* to = static_cast<T*>(y.data_ptr());
    const int64_t channels = x.size(1), wide = kWide * kPack;
    const int64_t packs = large ? ceil_div(channels, wide) : channels / kPack;
    for_each_image_grid(y.size(0), y.size(2), y.size(3), packs, [&](const ImageGrid& grid) {
      if (large) {
        gpu::launch("avg_pool2d_large", avg_pool2d_large<T, kPack>,
                    {.grid = grid.count, .block = dim3(kWide, kDeep)}, grid, int(channels), axes.rows,
                    axes.columns, from, to);
      } else {
        gpu::launch("avg_pool2d", avg_pool2d<T, kPack>, {.grid = image_blocks(grid), .block = kImageBlock},
                    grid, axes.rows, axes.columns, from, to);
      }
    });
  });
}

void avg_pool2d_backward_gpu(const Tensor& grad, const AveragePoolAxes& axes, const Tensor& grad_x) {
  const gpu::DeviceGuard guard(grad.device().index);
  dispatch_channels(
      grad.dtype(), grad.size(1), {grad.data_ptr(), grad_x.data_ptr()}, [&]<class T, int kPack>() {
        for_each_image_grid(grad_x.size(0), grad_x.size(2), grad_x.size(3), grad_x.size(1) / kPack,
                            [&](const ImageGrid& grid) {
                              gpu::launch("avg_pool2d_backward", avg_pool2d_backward<T, kPack>,
                                          {.grid = image_blocks(grid), .block = kImageBlock}, grid, axes.rows,
                                          axes.columns, static_cast<const T*>(grad.data_ptr()),
                                          static_cast<T*>(grad_x.data_ptr()));
                            });
      });
}

}  // namespace taper::ops
