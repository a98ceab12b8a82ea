#include "taper/nn/optim/ema.h"

#include "taper/core/base/op_scope.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper {

Ema::Ema(const NamedTensors& tensors, double decay) : decay_(decay) {
  TAPER_CHECK(decay >= 0 && decay <= 1, "Ema: decay must be between 0 and 1, got {}", decay);
  for (const auto& [name, value] : tensors) {
    TAPER_CHECK(value.defined(), "Ema: {} is undefined", name);
    slots_.push_back({name, value, ops::clone(value)});
  }
}

void Ema::update() {
  const OpScope scope("Ema update", SpanKind::kOptimizer);
  std::vector<Tensor> averages, values;
  for (const Slot& slot : slots_) {
    if (updates_ == 0 || !is_floating_point(slot.value.dtype())) {
      ops::copy_(slot.average, slot.value);
    } else {
      averages.push_back(slot.average);
      values.push_back(slot.value);
    }
  }
  ops::ema_update(averages, values, decay_);
  ++updates_;
}

void Ema::swap() {
  for (const Slot& slot : slots_) {
    const Tensor value = ops::clone(slot.value);
    ops::copy_(slot.value, slot.average);
    ops::copy_(slot.average, value);
  }
}

SavedState Ema::state_dict() const {
  SavedState state;
  for (const Slot& slot : slots_) state.tensors[slot.name] = slot.average;
  state.numbers["updates"] = double(updates_);
  return state;
}

void Ema::load_state_dict(const SavedState& state) {
  const double updates = state.number("updates", "Ema");
  for (const Slot& slot : slots_) {
    const auto saved = state.tensors.find(slot.name);
    TAPER_CHECK(saved != state.tensors.end(), "Ema: the saved state has no {}", slot.name);
    TAPER_CHECK(saved->second.shape() == slot.average.shape(), "Ema: the saved {} is {}, the model's {}",
                slot.name, saved->second.shape(), slot.average.shape());
  }
  for (const Slot& slot : slots_) {
    ops::copy_(slot.average, ops::to_device(state.tensors.at(slot.name), slot.average.device()));
  }
  updates_ = int64_t(updates);
}

}  // namespace taper
