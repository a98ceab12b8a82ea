#pragma once
// A constant weight of a convolution, as in a served model. The CPU's kernels do not read a weight where it
// lies: they pack it into panels or transform it (Winograd). For a single image that takes a quarter of a
// ResNet-50's time, so a constant weight is prepared once. Counterparts: oneDNN's reordered weights,
// PyTorch's torch.utils.mkldnn.to_mkldnn.

#include <map>
#include <memory>
#include <mutex>
#include <string_view>

#include "taper/core/tensor.h"

namespace taper::ops {

class ConstantWeight {
 public:
  /// weight: [K, C / groups, R, S]. Shares the weight's memory if it is channels_last.
  explicit ConstantWeight(const Tensor& weight);

  /// Returns the weight, channels_last. Throws Error if it was written to since the construction.
  const Tensor& tensor() const;

  /// Returns what a kernel makes of the weight: `make()`, called once for each name. Thread-safe.
  template <class Make>
  auto form(std::string_view name, Make&& make) const {
    using Form = decltype(make());
    const std::lock_guard lock(mutex_);
    std::shared_ptr<const void>& kept = forms_[name];
    if (!kept) kept = std::make_shared<const Form>(make());
    return std::static_pointer_cast<const Form>(kept);
  }

 private:
  Tensor weight_;
  uint32_t version_;
  mutable std::mutex mutex_;
  mutable std::map<std::string_view, std::shared_ptr<const void>> forms_;
};

}  // namespace taper::ops
