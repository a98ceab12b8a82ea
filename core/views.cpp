#include "taper/core/views.h"  // spine 8 (docs/0-the-spine.md)

#include <algorithm>

namespace taper::views {
namespace {

/// Makes a view without a bounds check: the geometry must be derived from x's own.
Tensor make_view(const Tensor& x, const Shape& shape, const Strides& strides, int64_t offset) {
  auto impl = std::make_shared<TensorImpl>();
  impl->storage = x.storage();
  impl->storage_offset = offset;
  impl->shape = shape;
  impl->strides = strides;
  impl->numel = numel(shape);
  impl->dtype = x.dtype();
  impl->is_inference = x.impl()->is_inference;
  return Tensor(std::move(impl));
}

/// Finds strides for `shape` on x's memory. Returns false if a copy would be needed. Axes of x that lie
/// evenly in memory form runs, and every new axis must fit inside one run. As computeStride in
/// ATen/TensorUtils.cpp.
bool view_strides(const Tensor& x, const Shape& shape, Strides& strides) {
  strides = Dims::filled(shape.size(), 1);
  if (x.numel() == 0) {
    strides = strides_for(shape);
    return true;
  }
  int64_t axis = shape.size() - 1;
  int64_t run_size = 1, run_stride = 1;
  bool run_open = false;
  const auto fill_from_run = [&] {
    int64_t filled = 1;
    while (axis >= 0 && (filled < run_size || shape[axis] == 1)) {
      strides[axis] = run_stride * filled;
      filled *= shape[axis];
      --axis;
    }
    return filled == run_size;
  };
  for (int64_t i = x.dim() - 1; i >= 0; --i) {
    const int64_t size = x.shape()[i], stride = x.strides()[i];
    if (size == 1) continue;
    if (run_open && stride == run_stride * run_size) {
      run_size *= size;
      continue;
    }
    if (run_open && !fill_from_run()) return false;
    run_open = true;
    run_size = size;
    run_stride = stride;
  }
  return fill_from_run() && axis < 0;
}

}  // namespace

Tensor as_strided(const Tensor& x, const Shape& shape, const Strides& strides, int64_t storage_offset) {
  const int64_t span = span_of(shape, strides, "as_strided");
  const int64_t elements = int64_t(x.storage()->size_bytes() / size_of(x.dtype()));
  // A view without elements may begin past the end, as the empty slice behind the last element does.
  TAPER_CHECK(storage_offset >= 0 && storage_offset <= kMaxElements &&
                  (span == 0 || (span <= elements && storage_offset <= elements - span)),
              "as_strided: shape {} with strides {} at offset {} reaches past the storage of {} elements",
              shape, strides, storage_offset, elements);
  return make_view(x, shape, strides, storage_offset);
}

Tensor alias(const Tensor& x) {
  return make_view(x, x.shape(), x.strides(), x.storage_offset());
}

Shape infer_shape(const Tensor& x, const Shape& shape, std::string_view op) {
  Shape result = shape;
  int64_t unknown = -1;
  for (int64_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] == -1) {
      TAPER_CHECK(unknown < 0, "{}: shape {} has more than one -1", op, shape);
      unknown = axis;
      result[axis] = 1;
    } else {
      TAPER_CHECK(shape[axis] >= 0, "{}: shape {} has a negative size", op, shape);
    }
  }
  if (unknown >= 0) {
    const int64_t known = numel(result);
    TAPER_CHECK(known > 0 && x.numel() % known == 0,
                "{}: {} elements of shape {} do not divide into shape {}", op, x.numel(), x.shape(), shape);
    result[unknown] = x.numel() / known;
  }
  TAPER_CHECK(numel(result) == x.numel(), "{}: shape {} has {} elements, shape {} has {}", op, x.shape(),
              x.numel(), shape, numel(result));
  return result;
}

bool can_view(const Tensor& x, const Shape& shape) {
  Strides strides;
  return view_strides(x, shape, strides);
}

Tensor view(const Tensor& x, const Shape& shape) {
  const Shape full = infer_shape(x, shape, "view");
  Strides strides;
  TAPER_CHECK(view_strides(x, full, strides),
              "view: shape {} with strides {} cannot be seen as {} without a copy; use reshape", x.shape(),
              x.strides(), full);
  return make_view(x, full, strides, x.storage_offset());
}

Tensor permute(const Tensor& x, const Dims& axes) {
  TAPER_CHECK(axes.size() == x.dim(), "permute: {} axes for a tensor of shape {}", axes.size(), x.shape());
  Shape shape = x.shape();
  Strides strides = x.strides();
  unsigned seen = 0;
  for (int64_t i = 0; i < axes.size(); ++i) {
    const int64_t axis = normalize_axis(axes[i], x.dim(), "permute");
    TAPER_CHECK((seen >> axis & 1u) == 0, "permute: axis {} appears twice in {}", axis, axes);
    seen |= 1u << axis;
    shape[i] = x.shape()[axis];
    strides[i] = x.strides()[axis];
  }
  return make_view(x, shape, strides, x.storage_offset());
}

Tensor transpose(const Tensor& x, int64_t a, int64_t b) {
  a = normalize_axis(a, x.dim(), "transpose");
  b = normalize_axis(b, x.dim(), "transpose");
  Shape shape = x.shape();
  Strides strides = x.strides();
  if (x.dim() > 0) {
    std::swap(shape[a], shape[b]);
    std::swap(strides[a], strides[b]);
  }
  return make_view(x, shape, strides, x.storage_offset());
}

Tensor squeeze(const Tensor& x, int64_t axis) {
  axis = normalize_axis(axis, x.dim(), "squeeze");
  Shape shape = x.shape();
  Strides strides = x.strides();
  if (x.dim() > 0 && shape[axis] == 1) {
    shape.erase(axis);
    strides.erase(axis);
  }
  return make_view(x, shape, strides, x.storage_offset());
}

Tensor unsqueeze(const Tensor& x, int64_t axis) {
  axis = normalize_axis(axis, x.dim() + 1, "unsqueeze");
  Shape shape = x.shape();
  Strides strides = x.strides();
  strides.insert(axis, axis < x.dim() ? shape[axis] * strides[axis] : 1);
  shape.insert(axis, 1);
  return make_view(x, shape, strides, x.storage_offset());
}

Tensor expand(const Tensor& x, const Shape& shape) {
  TAPER_CHECK(shape.size() >= x.dim(), "expand: shape {} has fewer dimensions than {}", shape, x.shape());
  Shape full = shape;
  Strides strides = Dims::filled(shape.size(), 0);
  const int64_t added = shape.size() - x.dim();
  for (int64_t i = 0; i < shape.size(); ++i) {
    const int64_t own = i < added ? 1 : x.shape()[i - added];
    if (full[i] == -1) {
      TAPER_CHECK(i >= added, "expand: -1 in {} stands for no existing size of {}", shape, x.shape());
      full[i] = own;
    }
    TAPER_CHECK(full[i] >= 0 && (own == full[i] || own == 1), "expand: shape {} does not stretch to {}",
                x.shape(), shape);
    if (i >= added && own == full[i]) strides[i] = x.strides()[i - added];
  }
  return make_view(x, full, strides, x.storage_offset());
}

Tensor slice(const Tensor& x, int64_t axis, int64_t begin, int64_t end, int64_t step) {
  TAPER_CHECK(x.dim() > 0, "slice: a tensor without dimensions has nothing to slice");
  TAPER_CHECK(step >= 1, "slice: step must be at least 1, got {}", step);
  axis = normalize_axis(axis, x.dim(), "slice");
  const int64_t size = x.shape()[axis];
  const auto bound = [size](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size); };
  begin = bound(begin);
  end = std::max(begin, bound(end));
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[axis] = begin < end ? (end - begin - 1) / step + 1 : 0;
  if (shape[axis] > 1) strides[axis] *= step;  // a step past the end is never taken
  return make_view(x, shape, strides, x.storage_offset() + begin * x.strides()[axis]);
}

Tensor narrow(const Tensor& x, int64_t axis, int64_t begin, int64_t length) {
  TAPER_CHECK(x.dim() > 0, "narrow: a tensor without dimensions has nothing to narrow");
  axis = normalize_axis(axis, x.dim(), "narrow");
  TAPER_CHECK(begin >= 0 && length >= 0 && begin <= x.shape()[axis] - length,
              "narrow: {} elements from {} on do not fit in axis {} of shape {}", length, begin, axis,
              x.shape());
  return slice(x, axis, begin, begin + length);
}

Tensor select(const Tensor& x, int64_t axis, int64_t index) {
  TAPER_CHECK(x.dim() > 0, "select: a tensor without dimensions has nothing to select from");
  axis = normalize_axis(axis, x.dim(), "select");
  const int64_t size = x.shape()[axis];
  TAPER_CHECK(index >= -size && index < size, "select: index {} is out of range for axis {} of shape {}",
              index, axis, x.shape());
  if (index < 0) index += size;
  Shape shape = x.shape();
  Strides strides = x.strides();
  const int64_t offset = x.storage_offset() + index * strides[axis];
  shape.erase(axis);
  strides.erase(axis);
  return make_view(x, shape, strides, offset);
}

}  // namespace taper::views
