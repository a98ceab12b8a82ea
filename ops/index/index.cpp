#include "taper/ops/index/index.h"

#include "taper/core/views.h"
#include "taper/ops/check.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/index/index_cpu.h"
#include "taper/ops/index/index_gpu.h"
#include "taper/ops/op_call.h"

namespace taper::ops {
namespace {

/// Returns `position`, counted in row-major order, as coordinates in `shape`.
Dims coordinates(int64_t position, const Shape& shape) {
  Dims result = shape;
  for (int64_t axis = shape.size() - 1; axis >= 0; --axis) {
    result[axis] = position % shape[axis];
    position /= shape[axis];
  }
  return result;
}

/// Checks the dtype and, on the CPU, the range. On the GPU the kernels check the range. Returns the index
/// row-major.
Tensor prepare_index(std::string_view op, const Tensor& index, int64_t limit) {
  TAPER_CHECK(index.dtype() == kInt64, "{}: index must be i64, got {}; convert with .to(kInt64)", op,
              index.dtype());
  const Tensor dense = contiguous(index);
  if (index.device().is_cuda()) return dense;
  const int64_t wrong = find_out_of_range_cpu(dense, limit);
  TAPER_CHECK(wrong < 0, "{}: index{} is {}, needs to be from 0 to {}", op, coordinates(wrong, index.shape()),
              dense.data<int64_t>()[wrong], limit - 1);
  return dense;
}

/// Brings the axis into range and prepares the index for slices of x along it.
Tensor prepare_slices(std::string_view op, const Tensor& x, int64_t& axis, const Tensor& index) {
  check_same_device(op, x, index);
  TAPER_CHECK(x.dim() > 0, "{}: a tensor without dimensions has no slices", op);
  axis = normalize_axis(axis, x.dim(), op);
  TAPER_CHECK(index.dim() == 1, "{}: index must have one dimension, got shape {}", op, index.shape());
  return prepare_index(op, index, x.shape()[axis]);
}

/// Brings the axis into range and prepares the index for elements of x along it.
Tensor prepare_elements(std::string_view op, const Tensor& x, int64_t& axis, const Tensor& index) {
  check_same_device(op, x, index);
  axis = normalize_axis(axis, x.dim(), op);
  bool fits = x.dim() == index.dim();
  for (int64_t i = 0; fits && i < x.dim(); ++i) fits = i == axis || index.shape()[i] <= x.shape()[i];
  TAPER_CHECK(fits, "{}: index {} must have as many dimensions as x {} and be no larger away from axis {}",
              op, index.shape(), x.shape(), axis);
  return prepare_index(op, index, x.dim() == 0 ? 1 : x.shape()[axis]);
}

/// Returns a view of x cut down to the sizes of `shape` in all axes but `axis`.
Tensor narrow_to(Tensor x, int64_t axis, const Shape& shape) {
  for (int64_t i = 0; i < x.dim(); ++i) {
    if (i != axis) x = views::narrow(x, i, 0, shape[i]);
  }
  return x;
}

void check_source(std::string_view op, const Tensor& x, const Tensor& source, const Shape& expected) {
  check_same_device(op, x, source);
  TAPER_CHECK(source.shape() == expected, "{}: source must be {}, got {}", op, expected, source.shape());
  TAPER_CHECK(source.dtype() == x.dtype() && x.dtype() != kBool,
              "{}: source ({}) and x ({}) must be of one number type", op, source.dtype(), x.dtype());
}

/// Returns a row-major copy of x in the dtype that sums use.
Tensor accumulator(const Tensor& x) {
  const Tensor wide = cast(x, compute_dtype(x.dtype()));
  return wide.is_same(x) || !wide.is_contiguous() ? contiguous(clone(wide)) : wide;
}

}  // namespace

Tensor index_select(const Tensor& x, int64_t axis, const Tensor& index) {
  const OpCall call("index_select", x, index);
  const Tensor positions = prepare_slices("index_select", x, axis, index);
  Shape shape = x.shape();
  shape[axis] = index.numel();
  const Tensor result = empty(shape, {.dtype = x.dtype(), .device = x.device()});
  (x.device().is_cuda() ? index_select_gpu : index_select_cpu)(contiguous(x), axis, positions, result);
  return result;
}

Tensor index_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source) {
  const OpCall call("index_add", x, index, source);
  const Tensor positions = prepare_slices("index_add", x, axis, index);
  Shape expected = x.shape();
  expected[axis] = index.numel();
  check_source("index_add", x, source, expected);
  const Tensor sum = accumulator(x);
  if (x.device().is_cuda()) {
    index_add_gpu(sum, axis, positions, contiguous(source));
  } else {
    index_add_cpu(sum, axis, positions, contiguous(cast(source, sum.dtype())));
  }
  return cast(sum, x.dtype());
}

Tensor gather(const Tensor& x, int64_t axis, const Tensor& index) {
  const OpCall call("gather", x, index);
  const Tensor positions = prepare_elements("gather", x, axis, index);
  const Tensor result = empty(index.shape(), {.dtype = x.dtype(), .device = x.device()});
  const Tensor region = contiguous(narrow_to(x, axis, index.shape()));
  (x.device().is_cuda() ? gather_gpu : gather_cpu)(region, axis, positions, result);
  return result;
}

Tensor scatter_add(const Tensor& x, int64_t axis, const Tensor& index, const Tensor& source) {
  const OpCall call("scatter_add", x, index, source);
  const Tensor positions = prepare_elements("scatter_add", x, axis, index);
  check_source("scatter_add", x, source, index.shape());
  const Tensor sum = accumulator(x);
  const Tensor region = narrow_to(sum, axis, index.shape());
  const Tensor dense = contiguous(region);  // `region` itself unless the index is smaller than x
  if (x.device().is_cuda()) {
    scatter_add_gpu(dense, axis, positions, contiguous(source));
  } else {
    scatter_add_cpu(dense, axis, positions, contiguous(cast(source, sum.dtype())));
  }
  if (!dense.is_same(region)) copy_(region, dense);
  return cast(sum, x.dtype());
}

Tensor one_hot(const Tensor& index, int64_t classes) {
  const OpCall call("one_hot", index);
  TAPER_CHECK(classes >= 1, "one_hot: needs at least 1 class, got {}", classes);
  const Tensor positions = prepare_index("one_hot", index, classes);
  Shape shape = index.shape();
  shape.push_back(classes);
  const Tensor result = empty(shape, {.dtype = kInt64, .device = index.device()});
  (index.device().is_cuda() ? one_hot_gpu : one_hot_cpu)(positions, classes, result);
  return result;
}

}  // namespace taper::ops
