#include "taper/nn/train/training_state.h"

#include <algorithm>
#include <set>

#include "taper/core/base/error.h"
#include "taper/core/base/op_scope.h"
#include "taper/core/gpu/runtime.h"
#include "taper/ops/copy/copy.h"

namespace taper {
namespace {

constexpr const char* kModel = "model";

bool is_group_option(const std::string& name) {
  return name.starts_with("group");
}

}  // namespace

void TrainingState::add_optimizer(Optimizer& optimizer) {
  optimizer_ = &optimizer;
  parts_.push_back({"optimizer", [&optimizer] { return optimizer.state_dict(); },
                    [&optimizer](const SavedState& saved) {
                      SavedState state = saved;
                      std::erase_if(state.numbers,
                                    [](const auto& number) { return is_group_option(number.first); });
                      for (const auto& [name, number] : optimizer.saved_options())
                        state.numbers[name] = number;
                      optimizer.load_state_dict(state);
                    }});
}

Checkpoint TrainingState::snapshot() const {
  const OpScope scope("checkpoint", SpanKind::kOptimizer);
  Checkpoint result = {.parts = {{kModel, {.tensors = model_.state_dict(), .numbers = {}}}},
                       .generator = default_generator().state(),
                       .description = description,
                       .options = options,
                       .must_match = must_match};
  for (const Part& part : parts_) {
    SavedState saved = part.save();
    if (saved.tensors.empty() && saved.numbers.empty()) continue;  // a GradScaler that is not enabled
    result.parts[part.name] = std::move(saved);
  }
  std::set<int> devices;
  for (auto& [name, state] : result.parts) {
    for (auto& [key, tensor] : state.tensors) {
      if (tensor.device().is_cuda()) devices.insert(tensor.device().index);
      tensor = tensor.device().is_cpu() ? ops::clone(tensor) : ops::to_device(tensor, kCPU, true);
    }
  }
  for (const int device : devices) gpu::current_stream(device).synchronize();
  return result;
}

void TrainingState::help_snapshot() const {
  if (needs_all_ranks()) optimizer_->state_dict();
}

std::vector<std::string> TrainingState::restore(const Checkpoint& checkpoint) const {
  std::vector<std::string> missing;
  model_.load_state_dict(checkpoint.part(kModel).tensors);
  for (const Part& part : parts_) {
    if (const auto saved = checkpoint.parts.find(part.name); saved != checkpoint.parts.end())
      part.load(saved->second);
    else
      missing.push_back(part.name);
  }
  default_generator().set_state(checkpoint.generator);
  return missing;
}

}  // namespace taper
