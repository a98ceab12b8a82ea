#pragma once
// Hooks: functions that run before and after a layer's forward(). They look at its input and output or
// replace them. PyTorch's counterparts: register_forward_hook in torch/nn/modules/module.py, and
// torch/utils/hooks.py.

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

class Layer;

using ForwardPreHook = std::function<Tensor(Layer& layer, const Tensor& input)>;
using ForwardHook = std::function<Tensor(Layer& layer, const Tensor& input, const Tensor& output)>;

/// Removes a hook from its layer. The hook stays if the handle is destroyed. The handle may outlive the
/// layer.
class HookHandle {
 public:
  explicit HookHandle(std::weak_ptr<bool> active) : active_(std::move(active)) {}
  void remove() {
    if (const auto active = active_.lock()) *active = false;
  }

 private:
  std::weak_ptr<bool> active_;
};

/// Hooks in the order in which they were added. add() forgets the hooks that were removed before it.
template <class Hook>
class HookList {
 public:
  HookHandle add(Hook hook) {
    std::erase_if(entries_, [](const auto& entry) { return !entry->active; });
    entries_.push_back(std::make_shared<Entry>(Entry{std::move(hook)}));
    return HookHandle(std::shared_ptr<bool>(entries_.back(), &entries_.back()->active));
  }
  bool empty() const {
    return std::none_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry->active; });
  }
  /// Calls body(hook) for each hook. A hook may remove hooks, and may add hooks that run from the next call
  /// on.
  template <class Body>
  void for_each(Body&& body) const {
    const std::vector<std::shared_ptr<Entry>> entries =
        entries_;  // a hook that add() forgets lives on until the end
    for (const auto& entry : entries) {
      if (entry->active) body(entry->hook);
    }
  }

 private:
  struct Entry {
    Hook hook;
    bool active = true;
  };
  std::vector<std::shared_ptr<Entry>> entries_;
};

}  // namespace taper
