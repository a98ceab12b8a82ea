#pragma once
// ScheduleSink: tells a schedule what each epoch came to, for those that watch it (nn/optim/plateau.h).

#include <memory>
#include <utility>

#include "taper/nn/optim/schedule.h"
#include "taper/nn/train/sink.h"

namespace taper {

class ScheduleSink final : public TrainSink {
 public:
  explicit ScheduleSink(std::shared_ptr<LrScheduler> schedule) : schedule_(std::move(schedule)) {}

  /// Tells a whole epoch's validation loss, or without an evaluation the training loss.
  void on_epoch_end(const EpochRecord& record) override {
    if (record.is_whole) schedule_->observe(record.score ? record.score->loss : record.loss);
  }

 private:
  std::shared_ptr<LrScheduler> schedule_;
};

}  // namespace taper
