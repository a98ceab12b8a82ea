#include "taper/nn/optim/optimizer.h"

#include <algorithm>
#include <map>
#include <set>

#include "taper/autograd/tape/node.h"
#include "taper/autograd/tape/weight_copy.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/capture_refusal.h"
#include "taper/nn/parallel/sharded_parameters.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/optimizer/controls.h"

namespace taper {
namespace {

void refuse_first_update(const Tensor& parameter) {
  gpu::detail::refuse_in_capture(
      parameter.device(),
      "the first update of a parameter cannot be captured: each replay would begin anew with its memory");
}

}  // namespace

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
      TAPER_CHECK(
          parameter.is_leaf(),
          "{}: parameter {} is the result of {}, whose next run would not know of an update; give the "
          "leaf it comes from, or detach() it",
          optimizer_, name, parameter.grad_fn()->name());
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
  if (shards_) {
    set_to_none = true;  // the next backward() brings new views
    for (const Tensor& parameter : whole_parameters()) parameter.set_grad({});
  }
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

void Optimizer::publish_lr() {
  for (size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    const double wanted = lr(g);
    const Device device = group.slots[0].parameter.device();
    if (!group.lr.defined() || group.lr.device() != device) {
      group.lr = ops::full({}, wanted, {.dtype = kFloat64, .device = device});
    } else if (group.published_lr != wanted) {
      ops::fill_(group.lr, wanted);
    }
    group.published_lr = wanted;
  }
}

void Optimizer::choose_lr(size_t g, const std::vector<double>& rates, const std::vector<Tensor>& skips) {
  Group& group = groups_.at(g);
  if (!group.lr.defined()) publish_lr();
  ops::choose_(group.lr, rates, skips);
  lr(g) = group.published_lr = rates.back();
}

std::vector<Optimizer::Cohort> Optimizer::count_update(Group& group, const Tensor& skip) {
  std::vector<Cohort> cohorts;
  for (Slot& slot : group.slots) {
    auto cohort = std::find_if(cohorts.begin(), cohorts.end(),
                               [&](const Cohort& c) { return c.steps.impl() == slot.steps.impl(); });
    if (cohort == cohorts.end()) cohort = cohorts.insert(cohort, Cohort{.steps = slot.steps, .slots = {}});
    if (slot.parameter.grad().defined()) {
      cohort->slots.push_back(&slot);
    } else {
      cohort->complete = false;
    }
  }
  std::erase_if(cohorts, [](const Cohort& cohort) { return cohort.slots.empty(); });
  for (Cohort& cohort : cohorts) {
    if (!cohort.steps.defined() || !cohort.complete) refuse_first_update(cohort.slots[0]->parameter);
    if (!cohort.steps.defined()) {
      const Device device = cohort.slots[0]->parameter.device();
      cohort.steps = ops::full({}, 0, {.dtype = kFloat64, .device = device});
    } else if (!cohort.complete) {
      cohort.steps = ops::clone(cohort.steps);
    }
    for (Slot* slot : cohort.slots) slot->steps = cohort.steps;
    ops::count_update_(cohort.steps, skip);
  }
  return cohorts;
}

std::vector<Tensor> Optimizer::weight_copies(const std::vector<Slot*>& slots) {
  std::vector<Tensor> copies;
  for (const Slot* slot : slots) copies.push_back(detail::current_weight_copy(slot->parameter));
  const bool any = std::ranges::any_of(copies, [](const Tensor& copy) { return copy.defined(); });
  return any ? copies : std::vector<Tensor>();
}

void Optimizer::step(const Tensor& skip) {
  const OpScope scope(step_name(), SpanKind::kOptimizer);
  TAPER_CHECK(!skip.defined() || skip.numel() == 1, "{}: skip must be one number, got shape {}", step_name(),
              skip.shape());
  publish_lr();
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (const Cohort& cohort : count_update(groups_[g], skip)) {
      const std::vector<Tensor> copies = weight_copies(cohort.slots);
      update(g, cohort.slots, {.lr = groups_[g].lr, .step = cohort.steps, .skip = skip}, copies);
      for (size_t i = 0; i < copies.size(); ++i)
        if (copies[i].defined()) detail::renew_weight_copy(cohort.slots[i]->parameter);
    }
  }
  if (shards_) shards_->gather_parameters(whole_parameters());
}

Optimizer::UpdateLists Optimizer::lists_of(const std::vector<Slot*>& slots, bool with_memory) const {
  UpdateLists lists;
  lists.memory.resize(memory_names().size());
  for (Slot* slot : slots) {
    lists.parameters.push_back(slot->parameter);
    lists.grads.push_back(slot->parameter.grad());
    if (!with_memory) continue;
    if (slot->memory.size() < lists.memory.size()) refuse_first_update(slot->parameter);
    while (slot->memory.size() < lists.memory.size())
      slot->memory.push_back(ops::zeros_like(slot->parameter));
    for (size_t k = 0; k < lists.memory.size(); ++k) lists.memory[k].push_back(slot->memory[k]);
  }
  return lists;
}

std::vector<Tensor> Optimizer::parameters() const {
  std::vector<Tensor> all;
  for (const Group& group : groups_) {
    for (const Slot& slot : group.slots) all.push_back(slot.parameter);
  }
  return all;
}

std::vector<std::string> Optimizer::parameter_names(size_t group) const {
  std::vector<std::string> names;
  for (const Slot& slot : groups_.at(group).slots) names.push_back(slot.name);
  return names;
}

SavedState Optimizer::state_dict() {
  SavedState state;
  const std::vector<std::string> kinds = memory_names();
  std::map<const TensorImpl*, double> counts;  // each is read once: on a GPU the host waits for it
  const auto count_of = [&](const Tensor& steps) {
    const auto [entry, fresh] = counts.try_emplace(steps.impl().get());
    if (fresh) entry->second = ops::item(steps);
    return entry->second;
  };
  state.numbers = saved_options();
  for (const Group& group : groups_) {
    for (const Slot& slot : group.slots) {
      if (slot.steps.defined()) state.numbers["step." + slot.name] = count_of(slot.steps);
      for (size_t k = 0; k < slot.memory.size() && !shards_; ++k)
        state.tensors[kinds[k] + "." + slot.name] = slot.memory[k];
    }
  }
  if (shards_) gather_memory(state);
  return state;
}

std::map<std::string, double> Optimizer::saved_options() {
  std::map<std::string, double> numbers;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const std::string prefix = fmt::format("group{}.", g);
    numbers[prefix + "initial_lr"] = groups_[g].initial_lr;
    for (const NamedOption& option : named_options(g)) numbers[prefix + option.name] = option.get();
  }
  return numbers;
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
    for (const NamedOption& option : named_options(g)) {
      state.number(fmt::format("group{}.{}", g, option.name), optimizer_);
    }
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
    const Shape& shape = (shards_ ? slot->whole : slot->parameter).shape();
    TAPER_CHECK(value.shape() == shape, "{}: the saved {} is {}, the parameter {}", optimizer_, name,
                value.shape(), shape);
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
    for (const NamedOption& option : named_options(g)) option.set(state.numbers.at(prefix + option.name));
    std::map<double, Tensor> counts;
    for (Slot& slot : groups_[g].slots) {
      slot.steps = {};
      if (const auto saved = state.numbers.find("step." + slot.name); saved != state.numbers.end()) {
        Tensor& steps = counts[saved->second];
        if (!steps.defined()) {
          steps = ops::full({}, saved->second, {.dtype = kFloat64, .device = slot.parameter.device()});
        }
        slot.steps = steps;
      }
      slot.memory.clear();
      if (!state.tensors.contains(kinds[0] + "." + slot.name)) continue;
      for (const std::string& kind : kinds) {
        const Tensor& whole = state.tensors.at(kind + "." + slot.name);
        const Tensor saved = shards_ ? shards_->cut(slot.whole, whole) : whole;
        slot.memory.push_back(empty_like(slot.parameter));
        ops::copy_(slot.memory.back(), ops::to_device(saved, slot.parameter.device()));
      }
    }
  }
}

}  // namespace taper
