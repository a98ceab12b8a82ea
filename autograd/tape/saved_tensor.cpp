#include "taper/autograd/tape/saved_tensor.h"

#include "taper/autograd/tape/grad_mode.h"
#include "taper/autograd/tape/meta.h"
#include "taper/core/views.h"

namespace taper {

SavedTensor::SavedTensor(const Tensor& x, const Node& owner, int output_index) : output_index_(output_index) {
  if (!x.defined()) return;
  TAPER_CHECK(
      !x.impl()->is_inference,
      "{}: a tensor made under inference_mode cannot be saved for backward; clone() it outside, or use "
      "no_grad instead",
      owner.name());
  data_ = views::alias(x);
  version_ = x.version();
  if (output_index < 0) edge_ = detail::gradient_edge(x);
}

Tensor SavedTensor::unpack(Node& owner, size_t position) const {
  if (!data_.defined()) return {};
  TAPER_CHECK(data_.version() == version_,
              "backward of {}: saved tensor {} of shape {} was modified in place after the forward pass "
              "(version {}, saved at {}); clone() it before writing to it",
              owner.describe(), position, data_.shape(), data_.version(), version_);
  if (!GradMode::is_enabled()) return data_;
  Tensor result = views::alias(data_);
  if (output_index_ >= 0)
    detail::set_history(result, owner.shared_from_this(), output_index_);
  else if (edge_.node)
    detail::set_history(result, edge_.node, edge_.index);
  return result;
}

}  // namespace taper
