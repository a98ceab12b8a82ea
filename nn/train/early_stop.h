#pragma once
// EarlyStop: knows when a run has stopped to improve. Keras and Lightning call it EarlyStopping.

#include <cstdint>
#include <string>

#include "taper/nn/optim/saved_state.h"
#include "taper/nn/train/sink.h"

namespace taper {

/// Counts epochs without a better validation score. The score is top1, as for the best checkpoint; an equal one
/// is no better one. (The loss would be finer, but it often rises while top1 still does.)
class EarlyStop {
 public:
  /// Throws Error unless `patience`, the epochs to wait for a better score, is at least 1.
  explicit EarlyStop(int64_t patience);

  /// Takes an epoch's score. Returns whether `patience` epochs in a row brought no better one. An epoch without
  /// a score does not count.
  bool update(const EpochRecord& record);
  /// Returns whether `patience` epochs in a row brought no better score; so after a run that ended for it.
  bool is_enough() const { return epochs_since_ >= patience_; }
  /// Says why to stop, in one line.
  std::string reason() const;

  /// Returns the numbers "best", "best_epoch" and "epochs_since".
  SavedState state_dict() const;
  /// Restores what state_dict() returned; the patience may be another. Throws Error for missing numbers.
  void load_state_dict(const SavedState& state);

 private:
  int64_t patience_;
  double best_ = -1;  // top1, below any that there is
  int64_t best_epoch_ = -1;
  int64_t epochs_since_ = 0;
};

}  // namespace taper
