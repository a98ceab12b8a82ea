#pragma once
// TrainingState: all that must be saved of a training run, gathered. Each part is something with state_dict()
// and load_state_dict().
//
//   TrainingState state(model);
//   state.add("optimizer", optimizer);
//   state.add("schedule", schedule);
//   folder.save(state.snapshot(), step, ...);
//   state.restore(read_checkpoint("runs/last"));

#include <functional>
#include <string>
#include <vector>

#include "taper/nn/checkpoint/checkpoint.h"
#include "taper/nn/module.h"
#include "taper/nn/optim/optimizer.h"

namespace taper {

class TrainingState {
 public:
  /// `model` and all parts must outlive the state.
  explicit TrainingState(Module& model) : model_(model) {}

  /// Adds a part under `name`, which is none of "model" and the parts before.
  template <class Part>
  void add(const std::string& name, Part& part) {
    parts_.push_back({name, [&part] { return part.state_dict(); },
                      [&part](const SavedState& state) { part.load_state_dict(state); }});
  }
  /// Adds an optimiser, under "optimizer". When it is restored, it keeps its options, such as learning rates:
  /// they are what this run was called with, and the saved ones what the former run was.
  void add_optimizer(Optimizer& optimizer);

  const Module& model() const { return model_; }

  /// What snapshots say besides the parts.
  Metadata description = {};
  std::map<std::string, std::string> options = {}, must_match = {};

  /// Returns a copy of everything in host memory, with the default generator's state. Waits for the GPU.
  Checkpoint snapshot() const;
  /// Whether a snapshot needs all ranks: a sharded optimiser gathers its memory on rank 0 (Optimizer::shard()).
  bool needs_all_ranks() const { return optimizer_ != nullptr && optimizer_->shards() != nullptr; }
  /// Called by the other ranks while rank 0 takes a snapshot that needs them.
  void help_snapshot() const;
  /// Restores the model, the parts that the checkpoint has, and the default generator. Returns the names of
  /// parts that the checkpoint lacks; they keep their state. Throws Error if one does not fit.
  std::vector<std::string> restore(const Checkpoint& checkpoint) const;

 private:
  struct Part {
    std::string name;
    std::function<SavedState()> save;
    std::function<void(const SavedState&)> load;
  };

  Module& model_;
  Optimizer* optimizer_ = nullptr;
  std::vector<Part> parts_;
};

}  // namespace taper
