#include "taper/nn/io/pytorch_optimizer.h"

#include <map>

#include "taper/nn/optim/adam.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/copy/create.h"

namespace taper {
namespace {

using Dict = PickleValue::Dict;
using List = PickleValue::List;
using Tuple = PickleValue::Tuple;

const PickleValue& entry_of(const PickleValue& dict, const char* key) {
  const PickleValue* value = dict.find(key);
  TAPER_CHECK(value != nullptr, "the saved state of an optimiser lacks '{}'", key);
  return *value;
}

/// Returns a switch of a group that PyTorch's early versions lack.
bool is_on(const PickleValue& group, const char* key) {
  const PickleValue* value = group.find(key);
  return value != nullptr && !value->is_none() && value->number() != 0;
}

/// One kind of optimiser: what it keeps for a parameter, and how its options are called on both sides.
class Kind {
 public:
  virtual ~Kind() = default;
  virtual void put_options(const SavedState& state, const std::string& group, Dict& saved) const = 0;
  virtual void take_options(const PickleValue& saved, const std::string& group, SavedState& state) const = 0;
  virtual std::vector<std::string> memories() const = 0;
  /// Returns whether PyTorch keeps the number of updates.
  virtual bool has_steps() const = 0;
};

/// Copies numbers of equal names.
void put_numbers(const std::vector<const char*>& names, const SavedState& state, const std::string& group,
                 Dict& saved) {
  for (const char* name : names) saved.push_back({name, state.numbers.at(group + name)});
}
void take_numbers(const std::vector<const char*>& names, const PickleValue& saved, const std::string& group,
                  SavedState& state) {
  for (const char* name : names) state.numbers[group + name] = entry_of(saved, name).number();
}

class SgdKind final : public Kind {
 public:
  void put_options(const SavedState& state, const std::string& group, Dict& saved) const override {
    put_numbers({"lr", "momentum", "dampening", "weight_decay"}, state, group, saved);
    saved.push_back({"nesterov", state.numbers.at(group + "nesterov") != 0});
  }
  void take_options(const PickleValue& saved, const std::string& group, SavedState& state) const override {
    take_numbers({"lr", "momentum", "dampening", "weight_decay", "nesterov"}, saved, group, state);
  }
  std::vector<std::string> memories() const override { return {"momentum_buffer"}; }
  bool has_steps() const override { return false; }
};

/// Adam and AdamW. PyTorch tells them apart by the switch decoupled_weight_decay; the states
/// of earlier versions look alike.
class AdamKind final : public Kind {
 public:
  explicit AdamKind(bool is_adamw) : is_adamw_(is_adamw) {}

  void put_options(const SavedState& state, const std::string& group, Dict& saved) const override {
    put_numbers({"lr"}, state, group, saved);
    saved.push_back({"betas", Tuple{{state.numbers.at(group + "beta1"), state.numbers.at(group + "beta2")}}});
    put_numbers({"eps", "weight_decay"}, state, group, saved);
    saved.push_back({"amsgrad", false});
    saved.push_back({"capturable", false});
    const bool decoupled = is_adamw_ || state.numbers.at(group + "decoupled_weight_decay") != 0;
    saved.push_back({"decoupled_weight_decay", decoupled});
  }
  void take_options(const PickleValue& saved, const std::string& group, SavedState& state) const override {
    take_numbers({"lr", "eps", "weight_decay"}, saved, group, state);
    const List& betas = entry_of(saved, "betas").items();
    TAPER_CHECK(betas.size() == 2, "the saved state of an optimiser has {} betas, not 2", betas.size());
    state.numbers[group + "beta1"] = betas[0].number();
    state.numbers[group + "beta2"] = betas[1].number();
    TAPER_CHECK(!is_on(saved, "amsgrad"), "the saved state is of Adam with amsgrad, which Taper lacks");
    if (!is_adamw_) {
      state.numbers[group + "decoupled_weight_decay"] = is_on(saved, "decoupled_weight_decay");
      return;
    }
    const PickleValue* decoupled = saved.find("decoupled_weight_decay");
    TAPER_CHECK(
        decoupled == nullptr || decoupled->number() != 0 || entry_of(saved, "weight_decay").number() == 0,
        "the saved state is of Adam with weight decay in its gradients; AdamW's is apart from them, so load "
        "it "
        "into an Adam");
  }
  std::vector<std::string> memories() const override { return {"exp_avg", "exp_avg_sq"}; }
  bool has_steps() const override { return true; }

 private:
  bool is_adamw_;
};

const Kind& kind_of(const Optimizer& optimizer) {
  static const SgdKind sgd;
  static const AdamKind adam(false), adamw(true);
  if (dynamic_cast<const SGD*>(&optimizer) != nullptr) return sgd;
  if (dynamic_cast<const Adam*>(&optimizer) != nullptr) return adam;
  if (dynamic_cast<const AdamW*>(&optimizer) != nullptr) return adamw;
  fail("the state of this optimiser has no counterpart in torch.optim; those of SGD, Adam and AdamW have");
}

std::string group_prefix(size_t g) {
  return fmt::format("group{}.", g);
}

}  // namespace

PickleValue pytorch_state_dict(Optimizer& optimizer) {
  const Kind& kind = kind_of(optimizer);
  const SavedState state = optimizer.state_dict();
  Dict memory;
  List groups;
  int64_t number = 0;
  for (size_t g = 0; g < optimizer.group_count(); ++g) {
    Dict group;
    kind.put_options(state, group_prefix(g), group);
    // PyTorch wants all of its switches there. None means that it may choose.
    for (const char* off : {"maximize", "differentiable"}) group.push_back({off, false});
    for (const char* open : {"foreach", "fused"}) group.push_back({open, PickleValue()});
    group.push_back({"initial_lr", state.numbers.at(group_prefix(g) + "initial_lr")});
    List numbers;
    for (const std::string& name : optimizer.parameter_names(g)) {
      Dict entries;
      const auto steps = state.numbers.find("step." + name);
      if (kind.has_steps() && steps != state.numbers.end())
        entries.push_back({"step", ops::full({}, steps->second)});
      for (const std::string& each : kind.memories()) {
        const auto found = state.tensors.find(fmt::format("{}.{}", each, name));
        if (found != state.tensors.end()) entries.push_back({each, found->second});
      }
      if (!entries.empty()) memory.push_back({number, std::move(entries)});
      numbers.push_back(number++);
    }
    group.push_back({"params", std::move(numbers)});
    groups.push_back(std::move(group));
  }
  return Dict{{"state", std::move(memory)}, {"param_groups", std::move(groups)}};
}

void load_pytorch_state_dict(Optimizer& optimizer, const PickleValue& saved) {
  const Kind& kind = kind_of(optimizer);
  const List& groups = entry_of(saved, "param_groups").items();
  TAPER_CHECK(groups.size() == optimizer.group_count(), "the saved state has {} groups, the optimiser {}",
              groups.size(), optimizer.group_count());
  std::map<int64_t, const PickleValue*> memory;
  for (const PickleEntry& entry : entry_of(saved, "state").get<Dict>())
    memory[entry.key.get<int64_t>()] = &entry.value;

  SavedState state;
  for (size_t g = 0; g < groups.size(); ++g) {
    const PickleValue& group = groups[g];
    kind.take_options(group, group_prefix(g), state);
    TAPER_CHECK(!is_on(group, "maximize"), "the saved state's group {} has maximize, which Taper lacks", g);
    // Schedules of PyTorch leave it there.
    const PickleValue* initial_lr = group.find("initial_lr");
    state.numbers[group_prefix(g) + "initial_lr"] =
        initial_lr != nullptr ? initial_lr->number() : entry_of(group, "lr").number();

    const List& numbers = entry_of(group, "params").items();
    const std::vector<std::string> names = optimizer.parameter_names(g);
    TAPER_CHECK(numbers.size() == names.size(),
                "group {} of the saved state has {} parameters, the optimiser's {}", g, numbers.size(),
                names.size());
    for (size_t i = 0; i < names.size(); ++i) {
      const auto found = memory.find(numbers[i].get<int64_t>());
      if (found == memory.end()) continue;
      for (const std::string& each : kind.memories()) {
        const PickleValue* value = found->second->find(each);
        if (value == nullptr || value->is_none())
          continue;  // SGD without momentum, or a first update to come
        state.tensors[fmt::format("{}.{}", each, names[i])] = value->get<Tensor>();
        // SGD's buffer is there after one update, and how many more there were does not matter.
        state.numbers["step." + names[i]] = kind.has_steps() ? entry_of(*found->second, "step").number() : 1;
      }
      memory.erase(found);
    }
  }
  TAPER_CHECK(memory.empty(), "the saved state has {} parameters more than its groups", memory.size());
  optimizer.load_state_dict(state);
}

}  // namespace taper
