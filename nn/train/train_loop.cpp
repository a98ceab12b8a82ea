#include "taper/nn/train/train_loop.h"  // spine 67 (docs/0-the-spine.md)

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>

#include "taper/core/storage.h"
#include "taper/ops/copy/create.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;

/// The first steps fill caches; the outcome's speeds leave them out.
constexpr int64_t kWarmupSteps = 3;
/// So many skipped updates in a row lower the default scale to 5e-26: it is not the scale.
constexpr int64_t kMostSkipped = 100;

struct StepInFlight {
  int64_t number = 0, epoch = 0, images = 0;
  EnqueuedStep step;
};

/// A TrainLoop under way.
class Training {
 public:
  Training(const TrainLoop& loop, TrainingRun& run);

  void train();

 private:
  bool is_finished() const;
  void train_epoch();
  std::vector<Batch> next_batches();
  void make_step(const std::vector<Batch>& batches);
  /// Waits for the oldest step's loss and tells the sinks.
  void finish_step();
  /// Returns the mean of all ranks' losses. Agrees on whether to end.
  double mean_over_ranks(int64_t step, double own, bool skipped);
  void finish_steps();
  /// Evaluates, tells of the epoch, and goes on to the next one if this one is whole. Returns false if the
  /// evaluation was interrupted.
  bool end_epoch();
  /// As end_epoch(). If memory runs out in the evaluation, saves the epoch's training first.
  bool end_epoch_or_save();
  /// Whether there is something to save that the run was not resumed from.
  bool has_news() const;
  void save_if_due();
  void save(bool best = false);

  const TrainLoop& loop_;
  TrainingRun& run_;
  Outcome& outcome_;
  TrainProgress progress_;
  std::deque<StepInFlight> in_flight_;
  bool epoch_is_whole_ = false;  ///< there is nothing left of it to train on
  Clock::time_point last_finish_;
  std::optional<gpu::DeviceSensors> sensors_;  ///< of a GPU
};

Training::Training(const TrainLoop& loop, TrainingRun& run)
    : loop_(loop), run_(run), outcome_(run.outcome()), progress_(loop.start) {
  outcome_.steps = progress_.step;
  outcome_.skipped_updates = progress_.skipped_updates;
  outcome_.loss = progress_.loss;
  outcome_.score = progress_.score;
  const Device device = loop.batches.options().device;
  if (device.is_cuda()) sensors_.emplace(device.index);
}

bool Training::is_finished() const {
  return !progress_.to_evaluate &&
         (progress_.step >= loop_.plan.total_steps || progress_.epoch >= loop_.plan.epochs);
}

void Training::train() {
  while (!is_finished() && !run_.interrupted()) {
    train_epoch();
    if (run_.interrupted() || !end_epoch_or_save() || outcome_.ending == Ending::kStoppedEarly) break;
  }
  save();
}

std::vector<Batch> Training::next_batches() {
  std::vector<Batch> batches;
  while (int64_t(batches.size()) < loop_.plan.accumulate) {
    std::optional<Batch> batch = loop_.batches.next();
    if (!batch) break;
    batches.push_back(std::move(*batch));
  }
  return batches;
}

void Training::train_epoch() {
  loop_.model.train();
  loop_.batches.start(progress_.epoch, progress_.epoch_images / loop_.batches.options().batch_size);
  last_finish_ = Clock::now();
  epoch_is_whole_ = false;
  while (progress_.step < loop_.plan.total_steps && progress_.epoch_steps < loop_.plan.steps_per_epoch &&
         !run_.interrupted()) {
    const int64_t number = progress_.step + 1;
    run_.tell([&](TrainSink& sink) { sink.on_step_begin(number); });
    const std::vector<Batch> batches = next_batches();
    epoch_is_whole_ = batches.empty();  // images that cannot be read were left out
    if (epoch_is_whole_) break;
    make_step(batches);
    run_.tell([&](TrainSink& sink) { sink.on_step_enqueued(number); });
    if (loop_.checkpoints) loop_.checkpoints->report(run_);
    // After the last step before an evaluation, the checkpoint waits for the score.
    if (progress_.epoch_steps < loop_.plan.steps_per_epoch && progress_.step < loop_.plan.total_steps)
      save_if_due();
  }
  finish_steps();
  TAPER_CHECK(progress_.epoch_steps > 0 || run_.interrupted(), "TrainLoop: epoch {} has no batch",
              progress_.epoch);
  if (progress_.epoch_steps >= loop_.plan.steps_per_epoch) epoch_is_whole_ = true;
}

void Training::make_step(const std::vector<Batch>& batches) {
  StepInFlight step{.number = progress_.step + 1, .epoch = progress_.epoch, .step = loop_.step(batches)};
  for (const Batch& batch : batches) step.images += batch.size() * (loop_.group ? loop_.group->size() : 1);
  const size_t may_fly = step.step.arrived ? 1 : 0;
  in_flight_.push_back(std::move(step));
  outcome_.steps = ++progress_.step;
  ++progress_.epoch_steps;
  progress_.epoch_images = (batches.back().step + 1) * loop_.batches.options().batch_size;
  progress_.to_evaluate = true;
  while (in_flight_.size() > may_fly) finish_step();
}

void Training::finish_steps() {
  while (!in_flight_.empty()) finish_step();
}

void Training::finish_step() {
  const StepInFlight done = std::move(in_flight_.front());
  in_flight_.pop_front();
  const bool skipped = done.step.skipped();
  const double loss = mean_over_ranks(done.number, done.step.loss(), skipped);
  outcome_.loss = progress_.loss = loss;
  if (done.number == 1) progress_.first_loss = loss;
  if (!skipped) check_finite(loss, "loss", fmt::format("in step {}", done.number));
  if (std::isfinite(loss)) {
    progress_.loss_sum += loss;
    ++progress_.losses;
  }
  const std::optional<double> scale = done.step.scale();
  if (scale) {
    progress_.skipped_updates = progress_.skipped_updates.value_or(0) + skipped;
    outcome_.skipped_updates = progress_.skipped_updates;
    progress_.skipped_in_a_row = skipped ? progress_.skipped_in_a_row + 1 : 0;
  }
  const Clock::time_point now = Clock::now();
  const double speed = double(done.images) / std::chrono::duration<double>(now - last_finish_).count();
  last_finish_ = now;
  const int64_t of_this_run = loop_.plan.total_steps - loop_.start.step;
  if (done.number - loop_.start.step > kWarmupSteps || of_this_run <= kWarmupSteps)
    outcome_.speeds.push_back(speed);
  const StepRecord record = {
      .step = done.number,
      .epoch = done.epoch,
      .loss = loss,
      .lr = done.step.lr(),
      .group_lrs = done.step.lrs(),
      .scale = scale,
      .skipped = skipped,
      .images_per_second = speed,
      .device_memory_bytes = allocator_for(loop_.batches.options().device).stats().allocated_bytes,
      .sensors = sensors_ ? std::optional(sensors_->recent()) : std::nullopt};
  run_.tell([&](TrainSink& sink) { sink.on_step_end(record); });
  if (progress_.skipped_in_a_row == kMostSkipped) {
    fail<NotFiniteError>(
        "{} updates in a row were skipped: gradients are infinite or NaN whatever the loss is scaled by, now "
        "{}",
        kMostSkipped, *scale);
  }
}

double Training::mean_over_ranks(int64_t step, double own, bool skipped) {
  if (loop_.group == nullptr) return own;
  // A place for each rank's loss, so that a rank whose loss is NaN has a name.
  const int ranks = loop_.group->size();
  const Tensor told = ops::zeros({ranks + 1}, {.dtype = kFloat64});
  told.data<double>()[loop_.group->rank()] = own;
  told.data<double>()[ranks] = run_.is_asked_to_end() ? 1 : 0;
  loop_.group->all_reduce(told, ReduceOp::kSum, fmt::format("losses of step {}", step)).wait();
  const double* const losses = told.data<double>();
  run_.agree(losses[ranks] != 0);
  double sum = 0;
  int not_finite = 0, last = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    sum += losses[rank];
    if (std::isfinite(losses[rank])) continue;
    ++not_finite;
    last = rank;
  }
  // On all ranks the network or the data is to blame, on one that rank.
  if (not_finite == 1 && ranks > 1 && !skipped)
    check_finite(losses[last], "loss", fmt::format("in step {} on rank {} alone", step, last));
  return sum / ranks;
}

bool Training::end_epoch() {
  EpochRecord record{.epoch = progress_.epoch, .loss = progress_.epoch_loss(), .score = {}};
  bool best = false;
  if (loop_.evaluate) {
    record.score = loop_.evaluate();
    if (!record.score) return false;
    check_finite(record.score->loss, "validation loss", fmt::format("after step {}", progress_.step));
    best = progress_.take_score(*record.score);
    outcome_.score = record.score;
  }
  progress_.to_evaluate = false;
  record.images_per_second = outcome_.images_per_second();
  record.seconds = run_.seconds();
  record.is_whole = epoch_is_whole_;
  if (record.is_whole && loop_.enough && loop_.enough(record)) outcome_.ending = Ending::kStoppedEarly;
  run_.tell([&](TrainSink& sink) { sink.on_epoch_end(record); });
  if (epoch_is_whole_) {
    ++progress_.epoch;
    progress_.epoch_steps = progress_.epoch_images = 0;
    progress_.loss_sum = 0;
    progress_.losses = 0;
  }
  if (loop_.checkpoints && loop_.checkpoints->is_due_after_epoch(best)) save(best);
  save_if_due();
  return true;
}

bool Training::end_epoch_or_save() {
  try {
    return end_epoch();
  } catch (const OutOfMemoryError&) {
    if (loop_.checkpoints && has_news()) loop_.checkpoints->save_alone(run_, progress_);
    throw;
  }
}

bool Training::has_news() const {
  return progress_.step > 0 && progress_.state_dict().numbers != loop_.start.state_dict().numbers;
}

void Training::save_if_due() {
  if (!loop_.checkpoints || !loop_.checkpoints->is_due(progress_.step)) return;
  finish_steps();
  save();
}

void Training::save(bool best) {
  if (loop_.checkpoints && has_news()) loop_.checkpoints->save(run_, progress_, best);
}

}  // namespace

TrainPlan::TrainPlan(const DataLoader& batches, const TrainLoopOptions& options)
    : epochs(options.epochs),
      accumulate(options.accumulate),
      steps_per_epoch(std::max<int64_t>(batches.batches_per_epoch() / options.accumulate, 1)),
      total_steps(options.epochs * steps_per_epoch),
      images_per_step(batches.options().batch_size *
                      std::min(options.accumulate, batches.batches_per_epoch())) {
  if (options.max_steps > 0) total_steps = std::min(total_steps, options.max_steps);
}

void TrainLoop::train(TrainingRun& run) const {
  try {
    Training(*this, run).train();
  } catch (...) {
    if (checkpoints) checkpoints->finish(run);
    throw;
  }
  if (checkpoints) checkpoints->finish(run);
}

}  // namespace taper
