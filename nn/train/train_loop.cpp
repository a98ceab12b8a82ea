#include "taper/nn/train/train_loop.h"  // spine 67 (docs/0-the-spine.md)

#include <algorithm>
#include <chrono>
#include <deque>

#include "taper/core/storage.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;

/// The first steps fill caches; the outcome's speeds leave them out.
constexpr int64_t kWarmupSteps = 3;

struct StepInFlight {
  int64_t number = 0, epoch = 0, images = 0;
  EnqueuedStep step;
};

/// A TrainLoop under way.
class Training {
 public:
  Training(const TrainLoop& loop, TrainingRun& run) : loop_(loop), run_(run), outcome_(run.outcome()) {}

  /// Trains on the batches of one epoch. Returns the mean loss of its steps.
  double train_epoch(int64_t epoch);
  void evaluate(EpochRecord& record);

 private:
  std::vector<Batch> next_batches();
  /// Waits for the oldest step's loss and tells the sinks. Returns the loss.
  double finish_step();

  const TrainLoop& loop_;
  TrainingRun& run_;
  Outcome& outcome_;
  std::deque<StepInFlight> in_flight_;
  Clock::time_point last_finish_;
};

std::vector<Batch> Training::next_batches() {
  std::vector<Batch> batches;
  while (int64_t(batches.size()) < loop_.plan.accumulate) {
    std::optional<Batch> batch = loop_.batches.next();
    if (!batch) break;
    batches.push_back(std::move(*batch));
  }
  return batches;
}

double Training::train_epoch(int64_t epoch) {
  loop_.model.train();
  loop_.batches.start(epoch);
  last_finish_ = Clock::now();
  double loss_sum = 0;
  int64_t steps = 0;
  while (outcome_.steps < loop_.plan.total_steps && steps < loop_.plan.steps_per_epoch &&
         !run_.interrupted()) {
    const int64_t number = outcome_.steps + 1;
    run_.tell([&](TrainSink& sink) { sink.on_step_begin(number); });
    const std::vector<Batch> batches = next_batches();
    if (batches.empty()) break;  // images that cannot be read were left out
    StepInFlight step{.number = number, .epoch = epoch, .step = loop_.step(batches)};
    for (const Batch& batch : batches) step.images += batch.size();
    const size_t may_fly = step.step.arrived ? 1 : 0;
    in_flight_.push_back(std::move(step));
    ++outcome_.steps;
    ++steps;
    while (in_flight_.size() > may_fly) loss_sum += finish_step();
    run_.tell([&](TrainSink& sink) { sink.on_step_enqueued(number); });
  }
  while (!in_flight_.empty()) loss_sum += finish_step();
  TAPER_CHECK(steps > 0 || run_.interrupted(), "TrainLoop: epoch {} has no batch", epoch);
  return steps > 0 ? loss_sum / double(steps) : 0;
}

double Training::finish_step() {
  const StepInFlight done = std::move(in_flight_.front());
  in_flight_.pop_front();
  const double loss = done.step.loss();
  outcome_.loss = loss;
  check_finite(loss, "loss", fmt::format("in step {}", done.number));
  const Clock::time_point now = Clock::now();
  const double speed = double(done.images) / std::chrono::duration<double>(now - last_finish_).count();
  last_finish_ = now;
  if (done.number > kWarmupSteps || loop_.plan.total_steps <= kWarmupSteps) outcome_.speeds.push_back(speed);
  const StepRecord record = {
      .step = done.number,
      .epoch = done.epoch,
      .loss = loss,
      .lr = done.step.lr,
      .images_per_second = speed,
      .device_memory_bytes = allocator_for(loop_.batches.options().device).stats().allocated_bytes};
  run_.tell([&](TrainSink& sink) { sink.on_step_end(record); });
  return loss;
}

void Training::evaluate(EpochRecord& record) {
  if (!loop_.evaluate) return;
  record.score = loop_.evaluate();
  if (!record.score) return;
  check_finite(record.score->loss, "validation loss", fmt::format("after step {}", outcome_.steps));
  outcome_.score = record.score;
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
  Training training(*this, run);
  for (int64_t epoch = 0; epoch < plan.epochs && run.outcome().steps < plan.total_steps && !run.interrupted();
       ++epoch) {
    EpochRecord record{.epoch = epoch, .loss = training.train_epoch(epoch), .score = {}};
    if (run.interrupted()) return;
    training.evaluate(record);
    record.images_per_second = run.outcome().images_per_second();
    record.seconds = run.seconds();
    run.tell([&](TrainSink& sink) { sink.on_epoch_end(record); });
  }
}

}  // namespace taper
