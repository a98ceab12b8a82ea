// The CPU's max pooling.

#include <algorithm>
#include <limits>
#include <type_traits>

#include "taper/core/base/parallel.h"
#include "taper/ops/compute_type.h"
#include "taper/ops/element_width.h"
#include "taper/ops/pool/pool2d_cpu.h"
#include "taper/ops/simd.h"

namespace taper::ops {
namespace {

/// A pixel's index in its image, as wide as T: a comparison of Ts selects among such indices.
template <class T>
using PixelIndex = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

/// Returns the indices at `at`, or one of them.
template <class T>
auto load_indices(VectorAt<T> at, const int64_t* from) {
  using Index = PixelIndex<T>;
  typename Simd<Index>::Vector result;
  for (int64_t i = 0; i < Simd<T>::kLanes; ++i) result[i] = Index(from[at.i + i]);
  return result;
}
template <class T>
PixelIndex<T> load_indices(ScalarAt<T> at, const int64_t* from) {
  return PixelIndex<T>(from[at.i]);
}

template <class T>
void store_indices(VectorAt<T> at, int64_t* to, typename Simd<PixelIndex<T>>::Vector indices) {
  for (int64_t i = 0; i < Simd<T>::kLanes; ++i) to[at.i + i] = indices[i];
}
template <class T>
void store_indices(ScalarAt<T> at, int64_t* to, PixelIndex<T> index) {
  to[at.i] = index;
}

/// One output pixel: the maximum over the window's elements, and its index unless `indices` is null. Of equal
/// values the first wins; NaN wins over numbers.
template <class S>
void max_of_window(const S* image, const MaxPoolAxes& axes, int32_t p, int32_t q, int64_t channels, S* y,
                   int64_t* indices) {
  using T = ComputeType<S>;
  const int32_t width = axes.columns.input;
  const int32_t first_h = axes.rows.begin(p), end_h = axes.rows.end(p), step_h = axes.rows.dilation;
  const int32_t first_w = axes.columns.begin(q), end_w = axes.columns.end(q), step_w = axes.columns.dilation;
  for_each_vector<T>(channels, [=](auto at) {
    using Value = typename decltype(at)::Value;
    using Indices = decltype(load_indices(at, indices));
    auto maximum = Value{} - std::numeric_limits<T>::infinity();
    auto place = Indices{} + PixelIndex<T>(first_h * width + first_w);
    for (int32_t h = first_h; h < end_h; h += step_h) {
      for (int32_t w = first_w; w < end_w; w += step_w) {
        const auto here = Indices{} + PixelIndex<T>(h * width + w);
        const auto value = at.load(image + (int64_t(h) * width + w) * channels);
        const auto larger = (value > maximum) | (value != value);
        maximum = larger ? value : maximum;
        place = larger ? here : place;
      }
    }
    at.store(y, maximum);
    if (indices) store_indices(at, indices, place);
  });
}

/// A row of an image's gradient, from pixel `here` on: each pixel looks for its index in all windows that see
/// it, in order.
template <class S>
void gather_row(const S* grad, const int64_t* indices, SeeingWindows rows,
                const std::vector<SeeingWindows>& columns, int64_t q_size, int64_t here, int64_t channels,
                S* grad_x) {
  using T = ComputeType<S>;
  for (const SeeingWindows seen : columns) {
    for_each_vector<T>(channels, [=](auto at) {
      typename decltype(at)::Value sum{};
      for (int32_t p = rows.first; p <= rows.last; ++p) {
        for (int32_t q = seen.first; q <= seen.last; ++q) {
          const int64_t window = (p * q_size + q) * channels;
          const auto value = at.load(grad + window);
          sum += load_indices(at, indices + window) == PixelIndex<T>(here) ? value : decltype(value){};
        }
      }
      at.store(grad_x, sum);
    });
    ++here;
    grad_x += channels;
  }
}

/// Checks indices, because they may come from a user.
void check_indices(std::string_view op, const Tensor& indices, int64_t pixels) {
  const int64_t* data = indices.data<int64_t>();
  parallel_for(indices.numel(), int64_t(1) << 16, [&](int64_t begin, int64_t end) {
    uint64_t signs = 0;  // negative: some index is, or its distance to the last pixel
    for (int64_t i = begin; i < end; ++i)
      signs |= uint64_t(data[i]) | (uint64_t(pixels - 1) - uint64_t(data[i]));
    if (int64_t(signs) >= 0) return;
    const auto [least, most] = std::minmax_element(data + begin, data + end);
    fail("{}: indices reach from {} to {} but an image has {} pixels", op, *least, *most, pixels);
  });
}

}  // namespace

void max_pool2d_cpu(const Tensor& x, const MaxPoolAxes& axes, const Tensor& y, const Tensor& indices) {
  const int64_t channels = x.size(1), image = x.size(2) * x.size(3) * channels;
  const int64_t p_size = y.size(2), q_size = y.size(3);
  dispatch_float(x.dtype(), "max_pool2d", [&]<class S>() {
    int64_t* const places = indices.defined() ? indices.data<int64_t>() : nullptr;
    parallel_for(x.size(0) * p_size, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t q = 0; q < q_size; ++q) {
          const int64_t out = (row * q_size + q) * channels;
          max_of_window(x.data<S>() + row / p_size * image, axes, int32_t(row % p_size), int32_t(q), channels,
                        y.data<S>() + out, places ? places + out : nullptr);
        }
      }
    });
  });
}

void max_pool2d_backward_cpu(const Tensor& grad, const Tensor& indices, const MaxPoolAxes& axes,
                             const Tensor& grad_x) {
  const int64_t channels = grad.size(1), height = grad_x.size(2), width = grad_x.size(3);
  const int64_t q_size = grad.size(3), image = grad.size(2) * q_size * channels;
  check_indices("max_pool2d_backward", indices, height * width);
  if (grad_x.numel() == 0) return;
  const std::vector<SeeingWindows> rows = seeing_windows(axes.rows), columns = seeing_windows(axes.columns);
  dispatch_float(grad.dtype(), "max_pool2d_backward", [&]<class S>() {
    parallel_for(grad_x.size(0) * height, std::max<int64_t>(1, 16384 / (width * channels)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t row = begin; row < end; ++row) {
                     const int64_t n = row / height, h = row % height;
                     gather_row(grad.data<S>() + n * image, indices.data<int64_t>() + n * image,
                                rows[size_t(h)], columns, q_size, h * width, channels,
                                grad_x.data<S>() + row * width * channels);
                   }
                 });
  });
}

void max_pool2d_gather_cpu(const Tensor& x, const Tensor& indices, const Tensor& y) {
  const int64_t channels = x.size(1), image = x.size(2) * x.size(3) * channels;
  check_indices("max_pool2d_gather", indices, x.size(2) * x.size(3));
  if (y.numel() == 0) return;
  const int64_t pooled = y.size(2) * y.size(3);
  dispatch_width(size_of(x.dtype()), [&]<class Word>() {
    const Word* const from = static_cast<const Word*>(x.data_ptr());
    Word* const to = static_cast<Word*>(y.data_ptr());
    const int64_t* const index = indices.data<int64_t>();
    parallel_for(y.size(0) * pooled, std::max<int64_t>(1, 16384 / channels), [&](int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
        for (int64_t c = 0; c < channels; ++c) {
          const int64_t out = pixel * channels + c;
          to[out] = from[pixel / pooled * image + index[out] * channels + c];
        }
      }
    });
  });
}

}  // namespace taper::ops
