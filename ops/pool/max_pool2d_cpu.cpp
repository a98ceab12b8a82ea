// The CPU's max pooling.

#include <algorithm>
#include <limits>

#include "taper/core/base/ceil_div.h"
#include "taper/core/base/parallel.h"
#include "taper/ops/pool/pool2d_cpu.h"

namespace taper::ops {
namespace {

/// Channels that are compared together, in registers and the first-level cache.
constexpr int64_t kChannelBlock = 256;

/// Input positions that an output position sees along one axis: first, first + dilation, ... below `end`.
struct Taps {
  int64_t first, end;
};

Taps taps_of(int64_t output, int64_t input_size, int64_t kernel, int64_t stride, int64_t padding,
             int64_t dilation) {
  const int64_t begin = output * stride - padding;
  const int64_t skipped = begin < 0 ? ceil_div(-begin, dilation) : 0;
  return {begin + skipped * dilation, std::min(begin + (kernel - 1) * dilation + 1, input_size)};
}

/// One output pixel: for up to kChannelBlock channels, the maximum over the taps and its index.
template <class T>
void max_of_taps(const T* image, int64_t width, int64_t pixel_stride, Taps rows, Taps columns,
                 IntPair dilation, int64_t channels, T* __restrict maximum, int64_t* __restrict indices) {
  int32_t place[kChannelBlock];
  std::fill(maximum, maximum + channels, -std::numeric_limits<T>::infinity());
  std::fill(place, place + channels, int32_t(rows.first * width + columns.first));
  for (int64_t h = rows.first; h < rows.end; h += dilation.h) {
    for (int64_t w = columns.first; w < columns.end; w += dilation.w) {
      const int32_t here = int32_t(h * width + w);
      const T* __restrict values = image + (h * width + w) * pixel_stride;
      for (int64_t c = 0; c < channels; ++c) {
        const bool larger = values[c] > maximum[c] || values[c] != values[c];
        maximum[c] = larger ? values[c] : maximum[c];
        place[c] = larger ? here : place[c];
      }
    }
  }
  for (int64_t c = 0; c < channels; ++c) indices[c] = place[c];
}

/// One output pixel without indices: the maxima alone.
template <class T>
void max_of_taps(const T* image, int64_t width, int64_t pixel_stride, Taps rows, Taps columns,
                 IntPair dilation, int64_t channels, T* __restrict maximum) {
  std::fill(maximum, maximum + channels, -std::numeric_limits<T>::infinity());
  for (int64_t h = rows.first; h < rows.end; h += dilation.h) {
    for (int64_t w = columns.first; w < columns.end; w += dilation.w) {
      const T* __restrict values = image + (h * width + w) * pixel_stride;
      for (int64_t c = 0; c < channels; ++c) {
        const bool larger = values[c] > maximum[c] || values[c] != values[c];
        maximum[c] = larger ? values[c] : maximum[c];
      }
    }
  }
}

/// Checks indices, because they may come from a user.
void check_indices(std::string_view op, const Tensor& indices, int64_t pixels) {
  const int64_t* data = indices.data<int64_t>();
  parallel_for(indices.numel(), int64_t(1) << 16, [&](int64_t begin, int64_t end) {
    const auto [least, most] = std::minmax_element(data + begin, data + end);
    TAPER_CHECK(*least >= 0 && *most < pixels, "{}: indices reach from {} to {} but an image has {} pixels",
                op, *least, *most, pixels);
  });
}

/// Calls body(n, grad offset, count) for one image's pixels of `like` at a time. Gradients add up only within
/// an image, so images can go to different threads.
template <class Body>
void for_each_image(const Tensor& like, Body&& body) {
  const int64_t per_image = like.size(0) == 0 ? 0 : like.numel() / like.size(0);
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(per_image, 1));
  parallel_for(like.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) body(n, n * per_image, per_image);
  });
}

}  // namespace

void max_pool2d_cpu(const Tensor& x, const MaxPool2dOptions& options, const Tensor& y,
                    const Tensor& indices) {
  const int64_t channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t p_size = y.size(2), q_size = y.size(3);
  dispatch_compute_float(x.dtype(), "max_pool2d", [&]<class T>() {
    parallel_for(x.size(0) * p_size, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* image = x.data<T>() + row / p_size * height * width * channels;
        const Taps rows = taps_of(row % p_size, height, options.kernel.h, options.stride.h, options.padding.h,
                                  options.dilation.h);
        for (int64_t q = 0; q < q_size; ++q) {
          const Taps columns =
              taps_of(q, width, options.kernel.w, options.stride.w, options.padding.w, options.dilation.w);
          const int64_t out = (row * q_size + q) * channels;
          for (int64_t c = 0; c < channels; c += kChannelBlock) {
            const int64_t count = std::min(kChannelBlock, channels - c);
            if (indices.defined()) {
              max_of_taps(image + c, width, channels, rows, columns, options.dilation, count,
                          y.data<T>() + out + c, indices.data<int64_t>() + out + c);
            } else {
              max_of_taps(image + c, width, channels, rows, columns, options.dilation, count,
                          y.data<T>() + out + c);
            }
          }
        }
      }
    });
  });
}

void max_pool2d_backward_cpu(const Tensor& grad, const Tensor& indices, const Tensor& grad_x) {
  check_indices("max_pool2d_backward", indices, grad_x.size(2) * grad_x.size(3));
  const int64_t channels = grad.size(1), image = grad_x.size(2) * grad_x.size(3) * channels;
  dispatch_compute_float(grad.dtype(), "max_pool2d_backward", [&]<class T>() {
    for_each_image(grad, [&](int64_t n, int64_t offset, int64_t count) {
      T* to = grad_x.data<T>() + n * image;
      std::fill(to, to + image, T(0));
      const T* from = grad.data<T>() + offset;
      const int64_t* index = indices.data<int64_t>() + offset;
      for (int64_t pixel = 0; pixel < count; pixel += channels) {
        for (int64_t c = 0; c < channels; ++c) to[index[pixel + c] * channels + c] += from[pixel + c];
      }
    });
  });
}

void max_pool2d_gather_cpu(const Tensor& x, const Tensor& indices, const Tensor& y) {
  check_indices("max_pool2d_gather", indices, x.size(2) * x.size(3));
  const int64_t channels = x.size(1), image = x.size(2) * x.size(3) * channels;
  dispatch_compute_float(x.dtype(), "max_pool2d_gather", [&]<class T>() {
    for_each_image(y, [&](int64_t n, int64_t offset, int64_t count) {
      const T* from = x.data<T>() + n * image;
      const int64_t* index = indices.data<int64_t>() + offset;
      T* to = y.data<T>() + offset;
      for (int64_t pixel = 0; pixel < count; pixel += channels) {
        for (int64_t c = 0; c < channels; ++c) to[pixel + c] = from[index[pixel + c] * channels + c];
      }
    });
  });
}

}  // namespace taper::ops
