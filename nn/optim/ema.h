#pragma once
// Exponential moving average of a model's weights: often better on new data than the weights themselves.
// PyTorch's counterpart: torch/optim/swa_utils.py (AveragedModel).

#include "taper/nn/optim/optimizer.h"

namespace taper {

class Ema {
 public:
  /// Averages `tensors`: parameters, and buffers if wanted. Throws Error unless 0 <= decay <= 1.
  Ema(const NamedTensors& tensors, double decay);

  /// Sets average = decay * average + (1 - decay) * value; the first time, and for integers, average = value.
  /// skip: as for Optimizer::step(); if it is not 0, nothing changes and no update is counted.
  void update(const Tensor& skip = {});
  /// Returns the number of updates. On a GPU the host waits for it.
  int64_t updates() const;
  /// Exchanges the averages with the values.
  void swap();

  /// Returns the averages, under the tensors' names, and the number "updates".
  SavedState state_dict() const;
  /// Restores saved averages. Throws Error, with nothing changed, for a missing name or another shape.
  void load_state_dict(const SavedState& state);

 private:
  struct Slot {
    std::string name;
    Tensor value, average;
  };
  std::vector<Slot> slots_;
  double decay_;
  Tensor updates_;  ///< f64 of one element, on the first tensor's device
};

/// Gives the model the averaged weights until scope end, for evaluation.
class EmaScope {
 public:
  explicit EmaScope(Ema& ema) : ema_(ema) { ema_.swap(); }
  ~EmaScope() { ema_.swap(); }
  EmaScope(const EmaScope&) = delete;
  EmaScope& operator=(const EmaScope&) = delete;

 private:
  Ema& ema_;
};

}  // namespace taper
