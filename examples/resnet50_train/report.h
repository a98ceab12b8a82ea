#pragma once
// What resnet50_train says of a run besides the lines that the library's console has.

#include <string>

#include "options.h"
#include "setup.h"
#include "taper/nn/train/sink.h"
#include "taper/nn/train/step_profile.h"

namespace taper {

/// Prints the lines at the top of the output. parameter_groups: the optimiser's.
void print_header(const TrainOptions& options, const Setup& setup, size_t parameter_groups = 1);

/// Returns whether a checkpoint of the run's last step stands.
bool is_saved(const Outcome& outcome);

/// Tells of unreadable images after the first epoch and at the end, and of the run's result at its end.
/// Refers to its arguments.
class Report : public TrainSink {
 public:
  Report(const TrainOptions& options, const Setup& setup, const ProcessGroup* group)
      : options_(options), setup_(setup), group_(group) {}

  void on_epoch_end(const EpochRecord& record) override;
  void on_run_end(const Outcome& outcome) override;

 private:
  /// Says on stderr which images were unreadable, if there are more than it said before.
  void tell_unreadable();

  const TrainOptions& options_;
  const Setup& setup_;
  const ProcessGroup* group_;  // null for one process
  size_t told_ = 0;            // unreadable images that tell_unreadable() has told of
};

/// --profile: says at the end where the profile is.
class ProfileReport : public StepProfile {
 public:
  using StepProfile::StepProfile;
  void on_run_end(const Outcome& outcome) override;
};

/// --memory-report: written at the end.
class MemoryReport : public TrainSink {
 public:
  explicit MemoryReport(std::string path) : path_(std::move(path)) {}
  void on_run_end(const Outcome& outcome) override;

 private:
  std::string path_;
};

}  // namespace taper
