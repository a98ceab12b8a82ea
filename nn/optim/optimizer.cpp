#include "taper/nn/optim/optimizer.h"

#include <set>

#include "taper/core/op_scope.h"
#include "taper/ops/copy/copy.h"

namespace taper {

NamedTensors number_names(const std::vector<Tensor>& parameters) {
  NamedTensors named;
  for (const Tensor& parameter : parameters) named.emplace_back(fmt::format("{}", named.size()), parameter);
  return named;
}

Optimizer::Optimizer(std::string_view optimizer, const std::vector<NamedTensors>& groups)
    : optimizer_(optimizer) {
  std::set<std::string> names;
  std::set<const TensorImpl*> tensors;
  for (const NamedTensors& parameters : groups) {
    TAPER_CHECK(!parameters.empty(), "{}: group {} has no parameters", optimizer_, groups_.size());
    Group& group = groups_.emplace_back();
    for (const auto& [name, parameter] : parameters) {
      TAPER_CHECK(parameter.defined(), "{}: parameter {} is undefined", optimizer_, name);
      TAPER_CHECK(is_floating_point(parameter.dtype()), "{}: parameter {} must be floating point, got {}",
                  optimizer_, name, parameter.dtype());
      TAPER_CHECK(names.insert(name).second, "{}: two parameters are called {}", optimizer_, name);
      TAPER_CHECK(tensors.insert(parameter.impl().get()).second,
                  "{}: parameter {} is there under another name too", optimizer_, name);
      group.slots.push_back({.name = name, .parameter = parameter});
    }
  }
  TAPER_CHECK(!groups_.empty(), "{}: needs at least one parameter", optimizer_);
}

void Optimizer::zero_grad(bool set_to_none) {
  const OpScope scope("zero_grad", SpanKind::kOptimizer);
  for (const Tensor& parameter : parameters()) {
    const Tensor grad = parameter.grad();
    if (!grad.defined()) continue;
    if (set_to_none) {
      parameter.set_grad({});
    } else {
      ops::fill_(grad, 0);
    }
  }
}

std::vector<Tensor> Optimizer::parameters() const {
  std::vector<Tensor> all;
  for (const Group& group : groups_) {
    for (const Slot& slot : group.slots) all.push_back(slot.parameter);
  }
  return all;
}

SavedState Optimizer::state_dict() {
  SavedState state;
  const std::vector<std::string> kinds = memory_names();
  for (size_t g = 0; g < groups_.size(); ++g) {
    const std::string prefix = fmt::format("group{}.", g);
    state.numbers[prefix + "initial_lr"] = groups_[g].initial_lr;
    for (const auto& [name, value] : numbers(g)) state.numbers[prefix + name] = *value;
    for (const Slot& slot : groups_[g].slots) {
      if (slot.steps > 0) state.numbers["step." + slot.name] = double(slot.steps);
      for (size_t k = 0; k < slot.memory.size(); ++k)
        state.tensors[kinds[k] + "." + slot.name] = slot.memory[k];
    }
  }
  return state;
}

Optimizer::Slot* Optimizer::find(const std::string& parameter) {
  for (Group& group : groups_) {
    for (Slot& slot : group.slots) {
      if (slot.name == parameter) return &slot;
    }
  }
  return nullptr;
}

void Optimizer::check_state(const SavedState& state) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    state.number(fmt::format("group{}.initial_lr", g), optimizer_);
    for (const auto& [name, value] : numbers(g)) state.number(fmt::format("group{}.{}", g, name), optimizer_);
  }
  TAPER_CHECK(!state.numbers.contains(fmt::format("group{}.initial_lr", groups_.size())),
              "{}: the saved state has more than {} groups", optimizer_, groups_.size());
  const std::vector<std::string> kinds = memory_names();
  for (const auto& [name, value] : state.tensors) {
    const size_t dot = name.find('.');
    const std::string kind = name.substr(0, dot);
    TAPER_CHECK(dot != std::string::npos && std::find(kinds.begin(), kinds.end(), kind) != kinds.end(),
                "{}: the saved state has {}, which is nothing this optimizer remembers", optimizer_, name);
    const Slot* slot = find(name.substr(dot + 1));
    TAPER_CHECK(slot != nullptr, "{}: the saved state has {}, but there is no such parameter", optimizer_,
                name);
    TAPER_CHECK(value.shape() == slot->parameter.shape(), "{}: the saved {} is {}, the parameter {}",
                optimizer_, name, value.shape(), slot->parameter.shape());
    for (const std::string& other : kinds) {
      TAPER_CHECK(state.tensors.contains(other + "." + slot->name), "{}: the saved state has {} but no {}.{}",
                  optimizer_, name, other, slot->name);
    }
    state.number("step." + slot->name, optimizer_);
  }
}

void Optimizer::load_state_dict(const SavedState& state) {
  check_state(state);
  const std::vector<std::string> kinds = memory_names();
  for (size_t g = 0; g < groups_.size(); ++g) {
    const std::string prefix = fmt::format("group{}.", g);
    groups_[g].initial_lr = state.numbers.at(prefix + "initial_lr");
    for (const auto& [name, value] : numbers(g)) *value = state.numbers.at(prefix + name);
    for (Slot& slot : groups_[g].slots) {
      const auto steps = state.numbers.find("step." + slot.name);
      slot.steps = steps == state.numbers.end() ? 0 : int64_t(steps->second);
      slot.memory.clear();
      if (!state.tensors.contains(kinds[0] + "." + slot.name)) continue;
      for (const std::string& kind : kinds) {
        const Tensor& saved = state.tensors.at(kind + "." + slot.name);
        slot.memory.push_back(empty_like(slot.parameter));
        ops::copy_(slot.memory.back(), ops::to_device(saved, slot.parameter.device()));
      }
    }
  }
}

}  // namespace taper
