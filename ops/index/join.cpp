#include "taper/ops/index/join.h"

#include <algorithm>

#include "taper/core/views.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/index/index.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

/// Checks the requirements of cat and stack. Returns the dtype and order of the result.
TensorOptions common_options(std::string_view op, const std::vector<Tensor>& tensors) {
  TAPER_CHECK(!tensors.empty(), "{}: needs at least one tensor", op);
  TensorOptions options{
      .dtype = tensors[0].dtype(), .device = tensors[0].device(), .memory_format = kChannelsLast};
  for (const Tensor& x : tensors) {
    check_same_device(op, tensors[0], x);
    options.dtype = promote_types(options.dtype, x.dtype());
    if (x.memory_format() != kChannelsLast) options.memory_format = kContiguous;
  }
  return options;
}

}  // namespace

Tensor cat(const std::vector<Tensor>& tensors, int64_t axis) {
  const OpCall call("cat", tensors);
  const TensorOptions options = common_options("cat", tensors);
  Shape shape = tensors[0].shape();
  TAPER_CHECK(!shape.empty(), "cat: tensors without dimensions cannot be joined; use stack");
  axis = normalize_axis(axis, shape.size(), "cat");
  shape[axis] = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Shape rest = tensors[i].shape();
    if (axis < rest.size()) rest[axis] = shape[axis];
    TAPER_CHECK(rest == shape, "cat: tensor {} {} does not fit tensor 0 {} along axis {}", i,
                tensors[i].shape(), tensors[0].shape(), axis);
    shape[axis] = checked_add(shape[axis], tensors[i].shape()[axis], "cat");
  }
  const Tensor result = empty(shape, options);
  int64_t begin = 0;
  for (const Tensor& x : tensors) {
    const int64_t size = x.shape()[axis];
    copy_(views::narrow(result, axis, begin, size), x);
    begin += size;
  }
  return result;
}

Tensor stack(const std::vector<Tensor>& tensors, int64_t axis) {
  const OpCall call("stack", tensors);
  common_options("stack", tensors);
  axis = normalize_axis(axis, tensors[0].dim() + 1, "stack");
  std::vector<Tensor> slices;
  for (size_t i = 0; i < tensors.size(); ++i) {
    TAPER_CHECK(tensors[i].shape() == tensors[0].shape(), "stack: tensor {} is {}, tensor 0 is {}", i,
                tensors[i].shape(), tensors[0].shape());
    slices.push_back(views::unsqueeze(tensors[i], axis));
  }
  return cat(slices, axis);
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t axis) {
  TAPER_CHECK(size > 0, "split: size must be at least 1, got {}", size);
  const int64_t length = x.size(axis);
  std::vector<int64_t> sizes;
  for (int64_t begin = 0; begin < length; begin += size) sizes.push_back(std::min(size, length - begin));
  if (sizes.empty()) sizes.push_back(0);
  return split(x, sizes, axis);
}

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t axis) {
  const int64_t length = x.size(axis);
  int64_t begin = 0;
  std::vector<Tensor> parts;
  for (const int64_t size : sizes) {
    TAPER_CHECK(size >= 0 && size <= length - begin, "split: sizes [{}] do not add up to {}, axis {} of {}",
                fmt::join(sizes, ", "), length, axis, x.shape());
    parts.push_back(views::narrow(x, axis, begin, size));
    begin += size;
  }
  TAPER_CHECK(begin == length, "split: sizes [{}] do not add up to {}, axis {} of {}", fmt::join(sizes, ", "),
              length, axis, x.shape());
  return parts;
}

std::vector<Tensor> chunk(const Tensor& x, int64_t count, int64_t axis) {
  TAPER_CHECK(count > 0, "chunk: count must be at least 1, got {}", count);
  const int64_t length = x.size(axis);
  return split(x, std::max<int64_t>(1, length / count + (length % count != 0 ? 1 : 0)), axis);
}

Tensor flip(const Tensor& x, const Dims& axes) {
  const OpCall call("flip", x);
  Tensor result = x;
  for (const int64_t axis : axes) {
    const int64_t size = x.size(axis);
    result = index_select(result, axis, arange(size - 1, -1, -1, {.dtype = kInt64, .device = x.device()}));
  }
  return axes.empty() ? clone(x) : result;
}

Tensor pad(const Tensor& x, const std::vector<int64_t>& padding, Scalar value) {
  const OpCall call("pad", x);
  const auto count = int64_t(padding.size());
  TAPER_CHECK(count % 2 == 0 && count / 2 <= x.dim(),
              "pad: padding [{}] must hold two numbers for each of at most {} axes of {}",
              fmt::join(padding, ", "), x.dim(), x.shape());
  Shape shape = x.shape();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t width = padding[size_t(i)];
    TAPER_CHECK(width >= 0, "pad: padding [{}] must not be negative; use narrow to cut",
                fmt::join(padding, ", "));
    int64_t& size = shape[x.dim() - 1 - i / 2];
    size = checked_add(size, width, "pad");
  }
  const TensorOptions options{.dtype = x.dtype(), .device = x.device(), .memory_format = x.memory_format()};
  const Tensor result = full(shape, value, options);
  Tensor middle = result;
  for (int64_t i = 0; i < count; i += 2) {
    const int64_t axis = x.dim() - 1 - i / 2;
    middle = views::narrow(middle, axis, padding[size_t(i)], x.shape()[axis]);
  }
  copy_(middle, x);
  return result;
}

}  // namespace taper::ops
