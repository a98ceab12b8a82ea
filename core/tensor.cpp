#include "taper/core/tensor.h"  // spine 7 (docs/0-the-spine.md)

#include <algorithm>

#include "taper/core/gpu/memory/pinned_allocator.h"

namespace taper {

Strides strides_for(const Shape& shape, MemoryFormat format) {
  Strides strides = Dims::filled(shape.size(), 1);
  int64_t step = 1;
  bool overflow = false;
  const auto place = [&](int64_t axis) {
    strides[axis] = step;
    overflow |= __builtin_mul_overflow(step, std::max<int64_t>(shape[axis], 1), &step) || step > kMaxElements;
  };
  if (format == kChannelsLast) {
    TAPER_CHECK(shape.size() == 4, "channels_last needs 4 dimensions [N, C, H, W], got shape {}", shape);
    for (const int64_t axis : {1, 3, 2, 0}) place(axis);
  } else {
    for (int64_t axis = shape.size() - 1; axis >= 0; --axis) place(axis);
  }
  TAPER_CHECK(!overflow, "shape {} is too large: its sizes multiply to more than 2^59", shape);
  return strides;
}

const TensorImpl& Tensor::checked() const {
  TAPER_CHECK(impl_ != nullptr, "the tensor is undefined; make one with zeros, randn, from_vector, ...");
  return *impl_;
}

void Tensor::check_dtype(DType asked) const {
  TAPER_CHECK(asked == dtype(), "data: the tensor holds {}, not {}; convert with .to()", dtype(), asked);
}

const Shape& Tensor::shape() const {
  return checked().shape;
}
const Strides& Tensor::strides() const {
  return checked().strides;
}
int64_t Tensor::size(int64_t axis) const {
  return shape()[normalize_axis(axis, dim(), "size")];
}
int64_t Tensor::numel() const {
  return checked().numel;
}
DType Tensor::dtype() const {
  return checked().dtype;
}
Device Tensor::device() const {
  return checked().storage->device();
}
const std::shared_ptr<Storage>& Tensor::storage() const {
  return checked().storage;
}
int64_t Tensor::storage_offset() const {
  return checked().storage_offset;
}

void* Tensor::data_ptr() const {
  const TensorImpl& impl = checked();
  return static_cast<char*>(impl.storage->data()) + size_t(impl.storage_offset) * size_of(impl.dtype);
}

bool Tensor::is_pinned() const {
  return checked().storage->allocator() == &gpu::pinned_allocator();
}

bool Tensor::is_contiguous(MemoryFormat format) const {
  if (format == kChannelsLast && dim() != 4) return false;
  if (numel() == 0) return true;
  const Strides expected = strides_for(shape(), format);
  for (int64_t axis = 0; axis < dim(); ++axis) {
    if (shape()[axis] != 1 && strides()[axis] != expected[axis]) return false;
  }
  return true;
}

bool Tensor::is_dense() const {
  if (numel() <= 1) return true;
  // Walks the axes from the smallest stride up: each must start where the last one ended.
  Dims order;
  for (int64_t axis = 0; axis < dim(); ++axis) {
    if (shape()[axis] != 1) order.push_back(axis);
  }
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return strides()[a] < strides()[b]; });
  int64_t expected = 1;
  for (const int64_t axis : order) {
    if (strides()[axis] != expected) return false;
    expected *= shape()[axis];
  }
  return true;
}

MemoryFormat Tensor::memory_format() const {
  return is_contiguous(kChannelsLast) && !is_contiguous() ? kChannelsLast : kContiguous;
}

Tensor empty(const Shape& shape, const TensorOptions& options) {
  const Strides strides = strides_for(shape, options.memory_format);
  if (!options.pinned_memory) return empty_strided(shape, strides, options.dtype, options.device);
  TAPER_CHECK(options.device.is_cpu(), "empty: pinned memory is the CPU's, not {}'s", options.device);
  return empty_from(gpu::pinned_allocator(), shape, strides, options.dtype, options.device);
}

Tensor empty_strided(const Shape& shape, const Strides& strides, DType dtype, Device device) {
  return empty_from(allocator_for(device), shape, strides, dtype, device);
}

Tensor empty_from(Allocator& allocator, const Shape& shape, const Strides& strides, DType dtype,
                  Device device) {
  const int64_t elements = span_of(shape, strides, "empty_strided");
  auto impl = std::make_shared<TensorImpl>();
  impl->numel = numel(shape);
  impl->storage = std::make_shared<Storage>(size_t(elements) * size_of(dtype), device, allocator);
  impl->shape = shape;
  impl->strides = strides;
  impl->dtype = dtype;
  impl->is_inference = detail::inference_mode_flag();
  return Tensor(std::move(impl));
}

Tensor empty_like(const Tensor& other) {
  return empty_like(other, other.dtype());
}

Tensor empty_like(const Tensor& other, DType dtype) {
  const Strides strides = other.is_dense() ? other.strides() : strides_for(other.shape());
  return empty_strided(other.shape(), strides, dtype, other.device());
}

Tensor from_blob(void* data, const Shape& shape, DType dtype, std::function<void()> release) {
  auto impl = std::make_shared<TensorImpl>();
  impl->numel = numel(shape);
  impl->shape = shape;
  impl->strides = strides_for(shape);
  impl->dtype = dtype;
  impl->is_inference = detail::inference_mode_flag();
  impl->storage =
      std::make_shared<Storage>(data, size_t(impl->numel) * size_of(dtype), Device(), std::move(release));
  return Tensor(std::move(impl));
}

DType result_type(const Tensor& a, const Tensor& b) {
  const auto category = [](DType dtype) { return is_floating_point(dtype) ? 2 : dtype == kBool ? 0 : 1; };
  const bool a_is_number = a.dim() == 0;
  const bool b_is_number = b.dim() == 0;
  if (a_is_number != b_is_number) {
    const DType array = a_is_number ? b.dtype() : a.dtype();
    const DType number = a_is_number ? a.dtype() : b.dtype();
    if (category(array) >= category(number)) return array;
  }
  return promote_types(a.dtype(), b.dtype());
}

bool& detail::inference_mode_flag() {
  thread_local bool enabled = false;
  return enabled;
}

}  // namespace taper
