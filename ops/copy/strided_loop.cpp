#include "taper/ops/copy/strided_loop.h"

#include <algorithm>

namespace taper::ops {
namespace {

Dims all_axes(const Tensor& tensor) {
  Dims axes;
  for (int64_t axis = 0; axis < tensor.dim(); ++axis) axes.push_back(axis);
  return axes;
}

}  // namespace

void merge_dimensions(Shape& shape, LoopOperand* operands, int count) {
  for (int64_t axis = shape.size() - 1; axis > 0; --axis) {
    bool even = true;
    for (int k = 0; k < count; ++k) {
      even = even && operands[k].strides[axis - 1] == operands[k].strides[axis] * shape[axis];
    }
    if (!even) continue;
    shape[axis - 1] *= shape[axis];
    shape.erase(axis);
    for (int k = 0; k < count; ++k) {
      operands[k].strides[axis - 1] = operands[k].strides[axis];
      operands[k].strides.erase(axis);
    }
  }
}

StridedLoop::StridedLoop(std::span<const Tensor* const> tensors, const Dims& axes) {
  Dims order;
  const Shape& full = tensors[0]->shape();
  for (const int64_t axis : axes) {
    numel *= full[axis];
    if (full[axis] != 1) order.push_back(axis);
  }
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    for (const Tensor* tensor : tensors) {
      const int64_t stride_a = tensor->strides()[a], stride_b = tensor->strides()[b];
      if (stride_a != stride_b) return stride_a > stride_b;
    }
    return false;
  });
  for (const int64_t axis : order) shape.push_back(full[axis]);
  if (shape.empty()) shape.push_back(1);
  for (const Tensor* tensor : tensors) {
    LoopOperand& operand = operands[size_t(count++)];
    operand.data = static_cast<char*>(tensor->data_ptr());
    operand.dtype = tensor->dtype();
    for (const int64_t axis : order) operand.strides.push_back(tensor->strides()[axis]);
    if (operand.strides.empty()) operand.strides.push_back(1);
  }
  merge_dimensions(shape, operands.data(), count);
}

StridedLoop::StridedLoop(std::span<const Tensor* const> tensors)
    : StridedLoop(tensors, all_axes(*tensors[0])) {}

}  // namespace taper::ops
