#include "taper/nn/train/early_stop.h"

namespace taper {

EarlyStop::EarlyStop(int64_t patience) : patience_(patience) {
  TAPER_CHECK(patience >= 1, "EarlyStop: the patience must be at least 1 epoch, got {}", patience);
}

bool EarlyStop::update(const EpochRecord& record) {
  if (!record.score) return false;
  if (record.score->top1 > best_) {
    best_ = record.score->top1;
    best_epoch_ = record.epoch;
    epochs_since_ = 0;
  } else {
    ++epochs_since_;
  }
  return is_enough();
}

std::string EarlyStop::reason() const {
  return fmt::format("stopped early: {} {} without a better top1 than the {:.2f}% of epoch {}", epochs_since_,
                     epochs_since_ == 1 ? "epoch" : "epochs", 100 * best_, best_epoch_ + 1);
}

SavedState EarlyStop::state_dict() const {
  SavedState state;
  state.numbers = {
      {"best", best_}, {"best_epoch", double(best_epoch_)}, {"epochs_since", double(epochs_since_)}};
  return state;
}

void EarlyStop::load_state_dict(const SavedState& state) {
  const double best = state.number("best", "EarlyStop"), epoch = state.number("best_epoch", "EarlyStop"),
               since = state.number("epochs_since", "EarlyStop");
  best_ = best;
  best_epoch_ = int64_t(epoch);
  epochs_since_ = int64_t(since);
}

}  // namespace taper
