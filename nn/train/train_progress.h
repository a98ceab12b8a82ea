#pragma once
// TrainProgress: how far a training run has come. With it, a resumed run takes up the epoch where the former
// one left it.

#include <cstdint>
#include <optional>

#include "taper/nn/optim/saved_state.h"
#include "taper/nn/train/outcome.h"

namespace taper {

struct TrainProgress {
  int64_t step = 0;          ///< optimiser steps done
  int64_t epoch = 0;         ///< the epoch under way, from 0
  int64_t epoch_steps = 0;   ///< steps done in it
  int64_t epoch_images = 0;  ///< images of it that are used or left out: where the next step begins
  double loss_sum = 0;       ///< of the epoch's finite losses
  int64_t losses = 0;        ///< how many
  bool to_evaluate = false;  ///< steps were made since the last evaluation
  int64_t skipped_in_a_row = 0;
  std::optional<int64_t> skipped_updates = {};       ///< in all; nothing without a GradScaler
  std::optional<double> first_loss = {}, loss = {};  ///< of the run's first step, and of the last one
  std::optional<Score> score = {}, best = {};        ///< of the last evaluation, and the best one

  /// Returns the mean loss of the epoch's steps, but for losses infinite or NaN; NaN if all are.
  double epoch_loss() const;
  /// Takes a score. Returns whether it is better than all before: a higher top1, or an equal one at a lower loss.
  bool take_score(const Score& score);

  /// Returns all of it as numbers.
  SavedState state_dict() const;
  /// Throws Error, with nothing changed, for a missing number.
  void load_state_dict(const SavedState& state);
};

}  // namespace taper
