#include "taper/ops/pool/pool2d.h"  // spine 20 (docs/0-the-spine.md)

#include <algorithm>
#include <initializer_list>

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/op_call.h"
#include "taper/ops/pool/pool2d_cpu.h"
#include "taper/ops/pool/pool2d_gpu.h"

namespace taper::ops {
namespace {

/// Image sides and windows are smaller, so that a sum of two is an int32_t.
constexpr int64_t kMaxSide = int64_t(1) << 30;

void check_images(std::string_view op, std::string_view what, const Tensor& x) {
  check_defined(op, what, x);
  TAPER_CHECK(x.dim() == 4, "{}: {} must be [N, C, H, W], got {}", op, what, x.shape());
  check_floating_point(op, x);
}

void check_input_shape(std::string_view op, const Tensor& grad, const Shape& input) {
  TAPER_CHECK(input.size() == 4 && input[0] == grad.size(0) && input[1] == grad.size(1),
              "{}: input shape must be [{}, {}, H, W], got {}", op, grad.size(0), grad.size(1), input);
}

/// Pixel indices are int32_t inside.
void check_sides(std::string_view op, const Shape& input) {
  TAPER_CHECK(input[2] < kMaxSide && input[3] < kMaxSide && input[2] * input[3] <= INT32_MAX,
              "{}: an image of {} x {} pixels is too large", op, input[2], input[3]);
}

void check_shape(std::string_view op, std::string_view what, const Shape& actual, const Shape& needed) {
  TAPER_CHECK(actual == needed, "{}: {} must be {}, got {}", op, what, needed, actual);
}

Tensor empty_images(const Shape& shape, const Tensor& like, DType dtype) {
  return empty(shape, {.dtype = dtype, .device = like.device(), .memory_format = kChannelsLast});
}
Tensor empty_images(const Shape& shape, const Tensor& like) {
  return empty_images(shape, like, like.dtype());
}

template <class Options>
Options checked_options(std::string_view op, Options options, IntPair dilation) {
  TAPER_CHECK(options.kernel.h > 0 && options.kernel.w > 0, "{}: kernel must be at least 1, got {}", op,
              options.kernel);
  if (options.stride == IntPair(0)) options.stride = options.kernel;
  TAPER_CHECK(options.stride.h > 0 && options.stride.w > 0, "{}: stride must be at least 1, got {}", op,
              options.stride);
  TAPER_CHECK(dilation.h > 0 && dilation.w > 0, "{}: dilation must be at least 1, got {}", op, dilation);
  TAPER_CHECK(options.padding.h >= 0 && options.padding.w >= 0 && options.padding.h <= options.kernel.h / 2 &&
                  options.padding.w <= options.kernel.w / 2,
              "{}: padding must be between 0 and half the kernel {}, got {}", op, options.kernel,
              options.padding);
  for (const IntPair& size : {options.kernel, options.stride, dilation}) {
    TAPER_CHECK(size.h < kMaxSide && size.w < kMaxSide, "{}: {} pixels are too large for a window", op, size);
  }
  return options;
}

int64_t pooled_size(std::string_view op, int64_t input, int64_t kernel, int64_t stride, int64_t padding,
                    int64_t dilation, bool ceil_mode) {
  const int64_t reach = dilation * (kernel - 1) + 1;
  TAPER_CHECK(reach < kMaxSide, "{}: a window of {} pixels (kernel {}, dilation {}) is too large", op, reach,
              kernel, dilation);
  // In ceil_mode a window may reach beyond the padding by less than a stride, also the first one.
  const int64_t room = input + 2 * padding - reach + (ceil_mode ? stride - 1 : 0);
  TAPER_CHECK(
      input > 0 && room >= 0,
      "{}: a window of {} pixels (kernel {}, dilation {}) does not fit an input of {} with padding {}", op,
      reach, kernel, dilation, input, padding);
  int64_t size = room / stride + 1;
  // A last window that would begin in the right padding sees nothing.
  if (ceil_mode && (size - 1) * stride >= input + padding) --size;
  return size;
}

MaxPoolAxes max_pool_axes(std::string_view op, const Shape& input, const MaxPool2dOptions& given) {
  check_sides(op, input);
  const MaxPool2dOptions o = checked_options(op, given, given.dilation);
  const auto axis = [&](int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    const int64_t output = pooled_size(op, size, kernel, stride, padding, dilation, o.ceil_mode);
    const MaxPoolAxis windows{int32_t(size),   int32_t(output),  int32_t(kernel),
                              int32_t(stride), int32_t(padding), int32_t(dilation)};
    // A dilated window can step over the whole image. It has no maximum, and its gradient has no index.
    for (int32_t i = 0; dilation > 1 && i < windows.output; ++i) {
      TAPER_CHECK(
          windows.begin(i) < windows.end(i),
          "{}: window {} (kernel {}, stride {}, padding {}, dilation {}) sees nothing but padding of an "
          "input of {}; use less padding or dilation",
          op, i, kernel, stride, padding, dilation, size);
    }
    return windows;
  };
  return {axis(input[2], o.kernel.h, o.stride.h, o.padding.h, o.dilation.h),
          axis(input[3], o.kernel.w, o.stride.w, o.padding.w, o.dilation.w)};
}

AveragePoolAxes average_axes(std::string_view op, const Shape& input, const AvgPool2dOptions& given) {
  check_sides(op, input);
  const AvgPool2dOptions o = checked_options(op, given, 1);
  const auto axis = [&](int64_t size, int64_t kernel, int64_t stride, int64_t padding) {
    const int64_t output = pooled_size(op, size, kernel, stride, padding, 1, o.ceil_mode);
    return AveragePoolAxis{.input = int32_t(size),
                           .output = int32_t(output),
                           .kernel = int32_t(kernel),
                           .stride = int32_t(stride),
                           .padding = int32_t(padding),
                           .count_include_pad = o.count_include_pad};
  };
  return {axis(input[2], o.kernel.h, o.stride.h, o.padding.h),
          axis(input[3], o.kernel.w, o.stride.w, o.padding.w)};
}

AveragePoolAxes adaptive_axes(std::string_view op, const Shape& input, IntPair output) {
  check_sides(op, input);
  TAPER_CHECK(output.h > 0 && output.w > 0, "{}: output size must be at least 1, got {}", op, output);
  TAPER_CHECK(output.h < kMaxSide && output.w < kMaxSide, "{}: output size {} is too large", op, output);
  TAPER_CHECK(input[2] > 0 && input[3] > 0, "{}: input {} has no pixels", op, input);
  const auto axis = [](int64_t size, int64_t windows) {
    AveragePoolAxis result{.input = int32_t(size), .output = int32_t(windows), .adaptive = true};
    if (size % windows == 0) {  // windows of one size: faster to find
      result.adaptive = false;
      result.kernel = result.stride = int32_t(size / windows);
    }
    return result;
  };
  return {axis(input[2], output.h), axis(input[3], output.w)};
}

template <class Axes>
Shape pooled_shape(const Shape& input, const Axes& axes) {
  return {input[0], input[1], axes.rows.output, axes.columns.output};
}

Tensor average(const Tensor& x, const AveragePoolAxes& axes) {
  const Tensor images = contiguous(x, kChannelsLast), y = empty_images(pooled_shape(x.shape(), axes), images);
  if (y.device().is_cpu()) {
    avg_pool2d_cpu(images, axes, y);
  } else if (y.numel() > 0) {
    avg_pool2d_gpu(images, axes, y);
  }
  return y;
}

Tensor average_backward(const Tensor& grad, const Shape& input_shape, const AveragePoolAxes& axes) {
  const Tensor images = contiguous(grad, kChannelsLast), grad_x = empty_images(input_shape, images);
  if (grad_x.device().is_cpu()) {
    avg_pool2d_backward_cpu(images, axes, grad_x);
  } else if (grad_x.numel() > 0) {
    avg_pool2d_backward_gpu(images, axes, grad_x);
  }
  return grad_x;
}

Tensor as_indices(std::string_view op, const Tensor& like, const Tensor& indices, const Shape& shape) {
  check_defined(op, "indices", indices);
  check_same_device(op, like, indices);
  TAPER_CHECK(indices.dtype() == kInt64, "{}: indices must be i64, got {}", op, indices.dtype());
  check_shape(op, "indices", indices.shape(), shape);
  return contiguous(indices, kChannelsLast);
}

}  // namespace

MaxPool2dOutput max_pool2d(const Tensor& x, const MaxPool2dOptions& options) {
  constexpr std::string_view op = "max_pool2d";
  const OpCall call(op, x);
  check_images(op, "input", x);
  const MaxPoolAxes axes = max_pool_axes(op, x.shape(), options);
  const Tensor images = contiguous(x, kChannelsLast), y = empty_images(pooled_shape(x.shape(), axes), images),
               indices = empty_images(y.shape(), images, kInt64);
  x.device().is_cuda() ? max_pool2d_gpu(images, axes, y, indices) : max_pool2d_cpu(images, axes, y, indices);
  return {y, indices};
}

Tensor max_pool2d_values(const Tensor& x, const MaxPool2dOptions& options) {
  constexpr std::string_view op = "max_pool2d";
  const OpCall call(op, x);
  check_images(op, "input", x);
  const MaxPoolAxes axes = max_pool_axes(op, x.shape(), options);
  const Tensor images = contiguous(x, kChannelsLast), y = empty_images(pooled_shape(x.shape(), axes), images);
  if (y.device().is_cpu()) {
    max_pool2d_cpu(images, axes, y, Tensor());
  } else if (y.numel() > 0) {
    max_pool2d_gpu(images, axes, y, Tensor());
  }
  return y;
}

Tensor max_pool2d_backward(const Tensor& grad, const Tensor& indices, const Shape& input_shape,
                           const MaxPool2dOptions& options) {
  constexpr std::string_view op = "max_pool2d_backward";
  const OpCall call(op, grad, indices);
  check_images(op, "grad", grad);
  check_input_shape(op, grad, input_shape);
  const MaxPoolAxes axes = max_pool_axes(op, input_shape, options);
  check_shape(op, "grad", grad.shape(), pooled_shape(input_shape, axes));
  const Tensor places = as_indices(op, grad, indices, grad.shape());
  const Tensor images = contiguous(grad, kChannelsLast), grad_x = empty_images(input_shape, images);
  grad.device().is_cuda() ? max_pool2d_backward_gpu(images, places, axes, grad_x)
                          : max_pool2d_backward_cpu(images, places, axes, grad_x);
  return grad_x;
}

Tensor max_pool2d_gather(const Tensor& x, const Tensor& indices) {
  constexpr std::string_view op = "max_pool2d_gather";
  const OpCall call(op, x, indices);
  check_images(op, "input", x);
  check_defined(op, "indices", indices);
  TAPER_CHECK(indices.dim() == 4 && indices.size(0) == x.size(0) && indices.size(1) == x.size(1),
              "{}: indices must be [{}, {}, P, Q], got {}", op, x.size(0), x.size(1), indices.shape());
  const Tensor places = as_indices(op, x, indices, indices.shape());
  const Tensor images = contiguous(x, kChannelsLast), y = empty_images(indices.shape(), images);
  x.device().is_cuda() ? max_pool2d_gather_gpu(images, places, y) : max_pool2d_gather_cpu(images, places, y);
  return y;
}

Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options) {
  const OpCall call("avg_pool2d", x);
  check_images("avg_pool2d", "input", x);
  return average(x, average_axes("avg_pool2d", x.shape(), options));
}

Tensor avg_pool2d_backward(const Tensor& grad, const Shape& input_shape, const AvgPool2dOptions& options) {
  constexpr std::string_view op = "avg_pool2d_backward";
  const OpCall call(op, grad);
  check_images(op, "grad", grad);
  TAPER_CHECK(input_shape.size() == 4, "{}: input shape must be [N, C, H, W], got {}", op, input_shape);
  const AveragePoolAxes axes = average_axes(op, input_shape, options);
  check_shape(op, "grad", grad.shape(), pooled_shape(input_shape, axes));
  return average_backward(grad, input_shape, axes);
}

Tensor adaptive_avg_pool2d(const Tensor& x, IntPair output_size) {
  const OpCall call("adaptive_avg_pool2d", x);
  check_images("adaptive_avg_pool2d", "input", x);
  return average(x, adaptive_axes("adaptive_avg_pool2d", x.shape(), output_size));
}

Tensor adaptive_avg_pool2d_backward(const Tensor& grad, const Shape& input_shape) {
  constexpr std::string_view op = "adaptive_avg_pool2d_backward";
  const OpCall call(op, grad);
  check_images(op, "grad", grad);
  check_input_shape(op, grad, input_shape);
  return average_backward(grad, input_shape, adaptive_axes(op, input_shape, {grad.size(2), grad.size(3)}));
}

}  // namespace taper::ops
