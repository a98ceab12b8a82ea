#include "taper/ops/op_call.h"

#include <vector>

namespace taper::ops {

std::string types_and_shapes(std::span<const Tensor* const> tensors) {
  constexpr size_t kShown = 4;
  std::string text;
  if (tensors.size() > kShown) {
    int64_t elements = 0;
    for (const Tensor* tensor : tensors) elements += tensor->defined() ? tensor->numel() : 0;
    return fmt::format("{} tensors of {} elements", tensors.size(), elements);
  }
  for (const Tensor* tensor : tensors) {
    if (!text.empty()) text += ", ";
    text += tensor->defined() ? fmt::format("{} {}", tensor->dtype(), tensor->shape()) : "none";
  }
  return text;
}

std::string types_and_shapes(std::span<const Tensor> tensors) {
  std::vector<const Tensor*> pointers;
  pointers.reserve(tensors.size());
  for (const Tensor& tensor : tensors) pointers.push_back(&tensor);
  return types_and_shapes(pointers);
}

}  // namespace taper::ops
