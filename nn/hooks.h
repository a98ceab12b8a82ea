#pragma once
// Functions that run around a module's forward(), to look at what flows through it or to change it. PyTorch's
// counterpart: register_forward_hook in torch/nn/modules/module.py, torch/utils/hooks.py.

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

class Module;

using ForwardPreHook = std::function<Tensor(Module& module, const Tensor& input)>;
using ForwardHook = std::function<Tensor(Module& module, const Tensor& input, const Tensor& output)>;

/// Takes a hook off its module. Letting go of the handle leaves the hook in place; it may outlive the module.
class HookHandle {
 public:
  explicit HookHandle(std::weak_ptr<bool> active) : active_(std::move(active)) {}
  void remove() {
    if (const auto active = active_.lock()) *active = false;
  }

 private:
  std::weak_ptr<bool> active_;
};

/// Hooks in the order they were added; those removed are forgotten at the next addition.
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
  /// Calls body(hook) for each hook. Hooks may add hooks, which run from the next call on, and remove hooks.
  template <class Body>
  void for_each(Body&& body) const {
    const std::vector<std::shared_ptr<Entry>> entries = entries_;  // holds those that are forgotten meanwhile
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
