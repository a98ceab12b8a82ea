#pragma once
// Layers one after the other, named "0", "1", ... PyTorch's counterpart: torch.nn.Sequential.
//
//   Sequential net;
//   net.add<Linear>(64, 32).add<ReLU>().add<Linear>(32, 10);

#include <concepts>

#include "taper/nn/layer.h"

namespace taper {

class Sequential : public Layer {
 public:
  /// Makes a layer at the end of the chain. Returns the chain.
  template <std::derived_from<Layer> L, class... Args>
  Sequential& add(Args&&... args) {
    layers_.push_back(&register_module<L>(std::to_string(layers_.size()), std::forward<Args>(args)...));
    return *this;
  }

  /// Calls each layer on the output of the layer before it. Returns x itself if there are none.
  Tensor forward(const Tensor& x) override;

  int64_t size() const { return int64_t(layers_.size()); }
  /// Throws Error unless 0 <= index < size().
  Layer& operator[](int64_t index) {
    TAPER_CHECK(index >= 0 && index < size(), "Sequential: no module {} among {}", index, size());
    return *layers_[size_t(index)];
  }

 private:
  std::vector<Layer*> layers_;
};

}  // namespace taper
