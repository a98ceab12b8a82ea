#include "taper/nn/optim/ema.h"

#include "taper/core/base/op_scope.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/optimizer/controls.h"
#include "taper/ops/optimizer/optimizer.h"

namespace taper {

Ema::Ema(const NamedTensors& tensors, double decay) : decay_(decay) {
  TAPER_CHECK(decay >= 0 && decay <= 1, "Ema: decay must be between 0 and 1, got {}", decay);
  for (const auto& [name, value] : tensors) {
    TAPER_CHECK(value.defined(), "Ema: {} is undefined", name);
    slots_.push_back({name, value, ops::clone(value)});
  }
  const Device device = slots_.empty() ? kCPU : slots_[0].value.device();
  updates_ = ops::zeros({}, {.dtype = kFloat64, .device = device});
}

void Ema::update(const Tensor& skip) {
  const OpScope scope("Ema update", SpanKind::kOptimizer);
  const Tensor applied = skip.defined() ? ops::eq(skip.reshape({}), 0) : Tensor();
  std::vector<Tensor> averages, values;
  for (const Slot& slot : slots_) {
    if (is_floating_point(slot.value.dtype())) {
      averages.push_back(slot.average);
      values.push_back(slot.value);
    } else {
      ops::copy_(slot.average,
                 applied.defined() ? ops::where(applied, slot.value, slot.average) : slot.value);
    }
  }
  ops::count_update_(updates_, skip);
  ops::ema_update(averages, values, decay_, {.step = updates_, .skip = skip});
}

int64_t Ema::updates() const {
  return ops::item<int64_t>(updates_);
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
  state.numbers["updates"] = double(updates());
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
  ops::fill_(updates_, updates);
}

}  // namespace taper
