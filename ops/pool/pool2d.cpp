#include "taper/ops/pool/pool2d.h"

#include <algorithm>

#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/pool/pool2d_cpu.h"

namespace taper::ops {
namespace {

void check_images(std::string_view op, std::string_view what, const Tensor& x) {
  check_defined(op, what, x);
  TAPER_CHECK(x.dim() == 4, "{}: {} must be [N, C, H, W], got {}", op, what, x.shape());
  check_floating_point(op, x);
  check_on_cpu(op, x);
}

void check_shape(std::string_view op, std::string_view what, const Shape& actual, const Shape& needed) {
  TAPER_CHECK(actual == needed, "{}: {} must be {}, got {}", op, what, needed, actual);
}

/// In the compute dtype and channels_last.
Tensor as_images(const Tensor& x) {
  return contiguous(cast(x, compute_dtype(x.dtype())), kChannelsLast);
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
  TAPER_CHECK(options.padding.h >= 0 && options.padding.w >= 0 && 2 * options.padding.h <= options.kernel.h &&
                  2 * options.padding.w <= options.kernel.w,
              "{}: padding must be between 0 and half the kernel {}, got {}", op, options.kernel,
              options.padding);
  return options;
}

int64_t pooled_size(std::string_view op, int64_t input, int64_t kernel, int64_t stride, int64_t padding,
                    int64_t dilation, bool ceil_mode) {
  const int64_t room = input + 2 * padding - dilation * (kernel - 1) - 1;
  TAPER_CHECK(
      room >= 0,
      "{}: a window of {} pixels (kernel {}, dilation {}) does not fit an input of {} with padding {}", op,
      dilation * (kernel - 1) + 1, kernel, dilation, input, padding);
  int64_t size = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  // A last window that would begin in the right padding sees nothing.
  if (ceil_mode && (size - 1) * stride >= input + padding) --size;
  return size;
}

std::vector<PoolWindow> average_windows(std::string_view op, int64_t input, int64_t kernel, int64_t stride,
                                        int64_t padding, const AvgPool2dOptions& options) {
  std::vector<PoolWindow> windows(
      size_t(pooled_size(op, input, kernel, stride, padding, 1, options.ceil_mode)));
  for (size_t i = 0; i < windows.size(); ++i) {
    const int64_t begin = int64_t(i) * stride - padding, end = std::min(begin + kernel, input + padding);
    windows[i] = {std::max<int64_t>(begin, 0), std::min(end, input), end - begin};
    if (!options.count_include_pad) windows[i].divisor = windows[i].end - windows[i].begin;
  }
  return windows;
}

PoolWindows average_windows(std::string_view op, const Shape& input, const AvgPool2dOptions& given) {
  const AvgPool2dOptions options = checked_options(op, given, 1);
  return {average_windows(op, input[2], options.kernel.h, options.stride.h, options.padding.h, options),
          average_windows(op, input[3], options.kernel.w, options.stride.w, options.padding.w, options)};
}

std::vector<PoolWindow> adaptive_windows(int64_t input, int64_t output) {
  std::vector<PoolWindow> windows(static_cast<size_t>(output));
  for (int64_t i = 0; i < output; ++i) {
    const int64_t begin = i * input / output, end = ((i + 1) * input + output - 1) / output;
    windows[size_t(i)] = {begin, end, end - begin};
  }
  return windows;
}

PoolWindows adaptive_windows(std::string_view op, const Shape& input, IntPair output) {
  TAPER_CHECK(output.h > 0 && output.w > 0, "{}: output size must be at least 1, got {}", op, output);
  TAPER_CHECK(input[2] > 0 && input[3] > 0, "{}: input {} has no pixels", op, input);
  return {adaptive_windows(input[2], output.h), adaptive_windows(input[3], output.w)};
}

Shape pooled_shape(const Shape& input, const PoolWindows& windows) {
  return {input[0], input[1], int64_t(windows.rows.size()), int64_t(windows.columns.size())};
}

Tensor average(const Tensor& x, const PoolWindows& windows) {
  const Tensor images = as_images(x), y = empty_images(pooled_shape(x.shape(), windows), images);
  avg_pool2d_cpu(images, windows, y);
  return cast(y, x.dtype());
}

Tensor average_backward(const Tensor& grad, const Shape& input_shape, const PoolWindows& windows) {
  const Tensor images = as_images(grad), grad_x = empty_images(input_shape, images);
  avg_pool2d_backward_cpu(images, windows, grad_x);
  return cast(grad_x, grad.dtype());
}

Tensor as_indices(std::string_view op, const Tensor& like, const Tensor& indices, const Shape& shape) {
  check_defined(op, "indices", indices);
  check_same_device(op, like, indices);
  TAPER_CHECK(indices.dtype() == kInt64, "{}: indices must be i64, got {}", op, indices.dtype());
  check_shape(op, "indices", indices.shape(), shape);
  return contiguous(indices, kChannelsLast);
}

}  // namespace

MaxPool2dOutput max_pool2d(const Tensor& x, const MaxPool2dOptions& given) {
  constexpr std::string_view op = "max_pool2d";
  check_images(op, "input", x);
  const MaxPool2dOptions o = checked_options(op, given, given.dilation);
  const Shape shape = {
      x.size(0), x.size(1),
      pooled_size(op, x.size(2), o.kernel.h, o.stride.h, o.padding.h, o.dilation.h, o.ceil_mode),
      pooled_size(op, x.size(3), o.kernel.w, o.stride.w, o.padding.w, o.dilation.w, o.ceil_mode)};
  TAPER_CHECK(x.size(2) * x.size(3) <= INT32_MAX, "{}: a picture of {} x {} pixels is too large", op,
              x.size(2), x.size(3));
  const Tensor images = as_images(x), y = empty_images(shape, images),
               indices = empty_images(shape, images, kInt64);
  max_pool2d_cpu(images, o, y, indices);
  return {cast(y, x.dtype()), indices};
}

Tensor max_pool2d_backward(const Tensor& grad, const Tensor& indices, const Shape& input_shape) {
  constexpr std::string_view op = "max_pool2d_backward";
  check_images(op, "grad", grad);
  TAPER_CHECK(input_shape.size() == 4 && input_shape[0] == grad.size(0) && input_shape[1] == grad.size(1),
              "{}: input shape must be [{}, {}, H, W], got {}", op, grad.size(0), grad.size(1), input_shape);
  const Tensor places = as_indices(op, grad, indices, grad.shape());
  const Tensor images = as_images(grad), grad_x = empty_images(input_shape, images);
  max_pool2d_backward_cpu(images, places, grad_x);
  return cast(grad_x, grad.dtype());
}

Tensor max_pool2d_gather(const Tensor& x, const Tensor& indices) {
  constexpr std::string_view op = "max_pool2d_gather";
  check_images(op, "input", x);
  check_defined(op, "indices", indices);
  TAPER_CHECK(indices.dim() == 4 && indices.size(0) == x.size(0) && indices.size(1) == x.size(1),
              "{}: indices must be [{}, {}, P, Q], got {}", op, x.size(0), x.size(1), indices.shape());
  const Tensor places = as_indices(op, x, indices, indices.shape());
  const Tensor images = as_images(x), y = empty_images(indices.shape(), images);
  max_pool2d_gather_cpu(images, places, y);
  return cast(y, x.dtype());
}

Tensor avg_pool2d(const Tensor& x, const AvgPool2dOptions& options) {
  check_images("avg_pool2d", "input", x);
  return average(x, average_windows("avg_pool2d", x.shape(), options));
}

Tensor avg_pool2d_backward(const Tensor& grad, const Shape& input_shape, const AvgPool2dOptions& options) {
  constexpr std::string_view op = "avg_pool2d_backward";
  check_images(op, "grad", grad);
  TAPER_CHECK(input_shape.size() == 4, "{}: input shape must be [N, C, H, W], got {}", op, input_shape);
  const PoolWindows windows = average_windows(op, input_shape, options);
  check_shape(op, "grad", grad.shape(), pooled_shape(input_shape, windows));
  return average_backward(grad, input_shape, windows);
}

Tensor adaptive_avg_pool2d(const Tensor& x, IntPair output_size) {
  check_images("adaptive_avg_pool2d", "input", x);
  return average(x, adaptive_windows("adaptive_avg_pool2d", x.shape(), output_size));
}

Tensor adaptive_avg_pool2d_backward(const Tensor& grad, const Shape& input_shape) {
  constexpr std::string_view op = "adaptive_avg_pool2d_backward";
  check_images(op, "grad", grad);
  TAPER_CHECK(input_shape.size() == 4 && input_shape[0] == grad.size(0) && input_shape[1] == grad.size(1),
              "{}: input shape must be [{}, {}, H, W], got {}", op, grad.size(0), grad.size(1), input_shape);
  return average_backward(grad, input_shape, adaptive_windows(op, input_shape, {grad.size(2), grad.size(3)}));
}

}  // namespace taper::ops
