#pragma once
// Functions that run when something happens, in the order in which they were registered. PyTorch's
// counterpart: torch/csrc/autograd/function_hook.h.

#include <cstddef>
#include <list>
#include <utility>

namespace taper {

/// A function may register others while it runs: they run from the next time on.
template <class Function>
class Hooks {
 public:
  void add(Function function) { functions_.push_back(std::move(function)); }
  bool empty() const { return functions_.empty(); }
  /// call(function) for each that was registered when this began.
  template <class Call>
  void for_each(Call&& call) const {
    auto next = functions_.begin();
    for (size_t left = functions_.size(); left > 0; --left, ++next) call(*next);
  }

 private:
  std::list<Function> functions_;  // a list: its elements stay where they are while others are added
};

}  // namespace taper
