#include "taper/nn/train/train_progress.h"

#include <cmath>

namespace taper {
namespace {

using Numbers = std::map<std::string, double>;

void put(Numbers& numbers, const std::string& name, const std::optional<Score>& score) {
  if (!score) return;
  numbers[name + ".top1"] = score->top1;
  numbers[name + ".top5"] = score->top5;
  numbers[name + ".loss"] = score->loss;
}

std::optional<Score> score_in(const SavedState& state, const std::string& name) {
  if (!state.numbers.contains(name + ".top1")) return std::nullopt;
  return Score{.top1 = state.number(name + ".top1", "TrainProgress"),
               .top5 = state.number(name + ".top5", "TrainProgress"),
               .loss = state.number(name + ".loss", "TrainProgress")};
}

}  // namespace

double TrainProgress::epoch_loss() const {
  return losses > 0 ? loss_sum / double(losses) : NAN;
}

bool TrainProgress::take_score(const Score& next) {
  score = next;
  if (best && (next.top1 < best->top1 || (next.top1 == best->top1 && !(next.loss < best->loss))))
    return false;
  best = next;
  return true;
}

SavedState TrainProgress::state_dict() const {
  SavedState state;
  state.numbers = {{"step", double(step)},
                   {"epoch", double(epoch)},
                   {"epoch_steps", double(epoch_steps)},
                   {"epoch_images", double(epoch_images)},
                   {"loss_sum", loss_sum},
                   {"losses", double(losses)},
                   {"to_evaluate", double(to_evaluate)},
                   {"skipped_in_a_row", double(skipped_in_a_row)}};
  if (skipped_updates) state.numbers["skipped_updates"] = double(*skipped_updates);
  if (first_loss) state.numbers["first_loss"] = *first_loss;
  if (loss) state.numbers["loss"] = *loss;
  put(state.numbers, "score", score);
  put(state.numbers, "best", best);
  return state;
}

void TrainProgress::load_state_dict(const SavedState& state) {
  const auto whole = [&](const std::string& name) { return int64_t(state.number(name, "TrainProgress")); };
  TrainProgress loaded = {.step = whole("step"),
                          .epoch = whole("epoch"),
                          .epoch_steps = whole("epoch_steps"),
                          .epoch_images = whole("epoch_images"),
                          .loss_sum = state.number("loss_sum", "TrainProgress"),
                          .losses = whole("losses"),
                          .to_evaluate = whole("to_evaluate") != 0,
                          .skipped_in_a_row = whole("skipped_in_a_row"),
                          .score = score_in(state, "score"),
                          .best = score_in(state, "best")};
  if (state.numbers.contains("skipped_updates")) loaded.skipped_updates = whole("skipped_updates");
  if (state.numbers.contains("first_loss")) loaded.first_loss = state.number("first_loss", "TrainProgress");
  if (state.numbers.contains("loss")) loaded.loss = state.number("loss", "TrainProgress");
  *this = loaded;
}

}  // namespace taper
