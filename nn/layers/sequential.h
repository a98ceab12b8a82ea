#pragma once
// Modules one after the other, named "0", "1", ... PyTorch's counterpart: torch.nn.Sequential.
//
//   Sequential net;
//   net.add<Linear>(64, 32).add<ReLU>().add<Linear>(32, 10);

#include "taper/nn/module.h"

namespace taper {

class Sequential : public Module {
 public:
  /// Makes a module at the end of the chain; returns the chain.
  template <class M, class... Args>
  Sequential& add(Args&&... args) {
    modules_.push_back(&register_module<M>(std::to_string(modules_.size()), std::forward<Args>(args)...));
    return *this;
  }

  /// Each module on the output of the one before; x itself if there are none. A convolution and the batch
  /// norm after it run as conv_batch_norm().
  Tensor forward(const Tensor& x) override;
  std::string type_name() const override { return "Sequential"; }

  int64_t size() const { return int64_t(modules_.size()); }
  /// Throws Error unless 0 <= index < size().
  Module& operator[](int64_t index) {
    TAPER_CHECK(index >= 0 && index < size(), "Sequential: no module {} among {}", index, size());
    return *modules_[size_t(index)];
  }

 private:
  std::vector<Module*> modules_;
};

}  // namespace taper
