#include "taper/nn/train/run_checkpoints.h"

#include "taper/nn/parallel/check_weights.h"

namespace taper {

bool RunCheckpoints::is_due(int64_t step) const {
  if (every_.steps > 0) return step % every_.steps == 0;
  if (every_.minutes == 0) return false;
  constexpr double kSecondsPerMinute = 60;
  const double seconds = std::chrono::duration<double>(Clock::now() - last_save_).count();
  return agree(seconds >= every_.minutes * kSecondsPerMinute && writer_ && !writer_->is_busy());
}

bool RunCheckpoints::agree(bool own) const {
  if (!group_) return own;
  const Tensor told = from_vector<int64_t>({own ? 1 : 0});
  group_->broadcast(told, 0, "whether to save").wait();
  return told.data<int64_t>()[0] != 0;
}

void RunCheckpoints::save(TrainingRun& run, const TrainProgress& progress, bool best) {
  if (!agree(progress.state_dict().numbers != saved_)) return;
  if (!writer_) {
    state_.help_snapshot();
    check_weights(state_.model(), *group_);
    return;
  }
  write(run, progress, best, group_);
}

void RunCheckpoints::save_alone(TrainingRun& run, const TrainProgress& progress) {
  if (!writer_ || state_.needs_all_ranks() || progress.state_dict().numbers == saved_) return;
  write(run, progress, false, nullptr);
}

void RunCheckpoints::write(TrainingRun& run, const TrainProgress& progress, bool best, ProcessGroup* group) {
  const SavedState numbers = progress.state_dict();
  const Clock::time_point begin = Clock::now();
  take(run, true);
  Checkpoint checkpoint = state_.snapshot();
  checkpoint.parts["progress"] = numbers;
  if (group) {
    // After the copy was made, so that nothing can happen in between.
    WeightsChecksum expected = {.names = {}, .sum = check_weights(state_.model(), *group)};
    for (const auto& [name, parameter] : state_.model().named_parameters()) expected.names.push_back(name);
    checkpoint.expected = std::move(expected);
  }
  writer_->start(std::move(checkpoint), progress.step, best);
  saved_ = numbers.numbers;
  last_save_ = Clock::now();
  waited_seconds_ = std::chrono::duration<double>(last_save_ - begin).count();
}

void RunCheckpoints::take(TrainingRun& run, bool wait) {
  const std::optional<WrittenCheckpoint> written = writer_ ? writer_->take(wait) : std::nullopt;
  if (!written) return;
  CheckpointTally& tally = run.outcome().checkpoints;
  tally.waited_seconds += std::exchange(waited_seconds_, 0);
  if (written->error.empty()) {
    ++tally.written;
    tally.last_path = written->path;
    tally.last_step = written->step;
  } else {
    ++tally.failed;
    last_error_ = written->error;
    saved_.clear();  // to be tried again
  }
  const CheckpointRecord record = {.step = written->step,
                                   .best = written->best,
                                   .path = written->path,
                                   .error = written->error,
                                   .seconds = written->seconds};
  run.tell([&](TrainSink& sink) { sink.on_checkpoint(record); });
}

void RunCheckpoints::finish(TrainingRun& run) {
  take(run, true);
  const CheckpointTally& tally = run.outcome().checkpoints;
  if (tally.failed == 0) return;
  run.outcome().errors.push_back(fmt::format(
      "{} of {} checkpoints could not be saved: {}; {}", tally.failed, tally.failed + tally.written,
      last_error_, tally.last_path.empty() ? "there is none" : "the last one is " + tally.last_path));
}

}  // namespace taper
