#pragma once
// RunHistory: the curves of a run, with a bounded number of points however long the run is. It is a part of
// the run's checkpoints, so that a run which goes on has all of its curves.

#include <limits>
#include <vector>

#include "taper/nn/optim/saved_state.h"
#include "taper/nn/train/sink.h"

namespace taper {

/// Neighbouring steps as a point of the curves.
struct StepPoint {
  int64_t step = 0;   ///< the last one
  int64_t steps = 0;  ///< how many
  double loss_sum = 0, least_loss = std::numeric_limits<double>::infinity(), largest_loss = -least_loss;
  int64_t losses = 0;  ///< finite ones, which the sum has
  double lr = 0;       ///< of the last step
  double speed_sum = 0;
  int64_t device_memory_bytes = 0;   ///< the most
  gpu::SensorReadings sensors = {};  ///< of the last step

  void add(const StepPoint& later);
};

struct EpochPoint {
  EpochRecord record;
  int64_t step = 0;  ///< the epoch's last
};

class RunHistory : public TrainSink {
 public:
  /// There are between half and all of so many points of steps.
  static constexpr size_t kMostPoints = 2000;

  void on_step_end(const StepRecord& record) override;
  /// An epoch that was ended by TrainPlan::total_steps, and that a longer run goes on with, is replaced.
  void on_epoch_end(const EpochRecord& record) override;

  /// Returns all of it: a row of numbers for each point and for each epoch.
  SavedState state_dict() const;
  /// Throws Error, with nothing changed, for a state that is none of a RunHistory.
  void load_state_dict(const SavedState& state);

  const std::vector<StepPoint>& points() const { return points_; }
  const std::vector<EpochPoint>& epochs() const { return epochs_; }

 private:
  void halve();

  std::vector<StepPoint> points_;
  int64_t steps_per_point_ = 1;
  std::vector<EpochPoint> epochs_;
  double seconds_before_ = 0;  ///< that the run before took until its last epoch's end
};

}  // namespace taper
