#pragma once
// TrainingRun: what goes on around training. It tells sinks what happens, knows whether the run was
// interrupted, and turns however training ends into an Outcome.
//
//   TrainingRun run;
//   run.add(std::make_shared<Console>(ProgressMode::kAuto, plan));
//   const Outcome& outcome = run.execute([&] { TrainLoop{...}.train(run); });

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "taper/nn/train/sink.h"

namespace taper {

class TrainingRun {
 public:
  /// `interrupted` is asked between steps and batches; once it returns true, the run ends.
  explicit TrainingRun(std::function<bool()> interrupted = {}) : interrupted_(std::move(interrupted)) {}

  /// Sinks hear each event in the order in which they were added.
  void add(std::shared_ptr<TrainSink> sink) { sinks_.push_back(std::move(sink)); }
  bool interrupted() const { return agreed_ ? *agreed_ : is_asked_to_end(); }
  /// Whether this process is asked to end, whatever other ranks are.
  bool is_asked_to_end() const { return interrupted_ && interrupted_(); }
  /// Makes interrupted() what several ranks have agreed on, so that they end after the same step.
  void agree(bool interrupted) { agreed_ = interrupted; }
  /// Seconds since execute() was called.
  double seconds() const;

  /// Calls `event` on every sink. Drops a sink that throws, adds its error to the outcome, and tells the
  /// other sinks.
  void tell(const std::function<void(TrainSink&)>& event);

  /// Runs `body`, which trains or evaluates. Catches what it throws, says in the outcome how it ended, and
  /// tells the sinks that the run is over.
  const Outcome& execute(const std::function<void()>& body);

  Outcome& outcome() { return outcome_; }

 private:
  void end_early(Ending ending, const std::string& why);

  std::function<bool()> interrupted_;
  std::optional<bool> agreed_;
  std::vector<std::shared_ptr<TrainSink>> sinks_;
  Outcome outcome_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace taper
