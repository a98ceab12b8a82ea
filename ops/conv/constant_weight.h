#pragma once
// The weight of a convolution that stays as it is, as when a trained model is served. The CPU's kernels do
// not read a weight as it lies in memory: they copy it into panels first, or transform it (Winograd). For a
// single picture that is a quarter of the time of a ResNet-50; of a constant weight it is done once and kept.
// oneDNN has the same in its reordered weights, PyTorch in torch.utils.mkldnn.to_mkldnn.

#include <map>
#include <memory>
#include <mutex>
#include <string_view>

#include "taper/core/tensor.h"

namespace taper::ops {

class ConstantWeight {
 public:
  /// weight: [K, C / groups, R, S]. Shares its memory if it is channels_last.
  explicit ConstantWeight(const Tensor& weight);

  /// channels_last. Throws Error if it was written to since the construction.
  const Tensor& tensor() const;

  /// What a kernel makes of the weight: `make()`, called once for each name. Thread-safe.
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
