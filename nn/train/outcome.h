#pragma once
// What a training run comes to: how it ended, what went wrong, and the numbers that are left of it.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "taper/core/base/error.h"

namespace taper {

enum class Ending : uint8_t {
  kFinished,
  kStoppedEarly,  ///< on purpose: TrainLoop::enough
  kInterrupted,
  kNotFinite,  ///< a loss was NaN or infinite, or gradients were in every step
  kOutOfMemory,
  kFailed,
};

/// "finished", "stopped early", "interrupted", "nan", "out of memory" or "error".
const char* name_of(Ending ending);

/// What a model achieves on a data set. Fractions, 0 to 1, and the mean loss of an image.
struct Score {
  double top1 = 0, top5 = 0, loss = 0;
};

/// The checkpoints of a run, counted.
struct CheckpointTally {
  int64_t written = 0, failed = 0;
  int64_t last_step = 0;      ///< of the last one that was written
  std::string last_path;      ///< of the last one that was written; empty if none was
  double waited_seconds = 0;  ///< that training stood still for them
};

/// The steps that were replayed as a graph (captured_step.h).
struct CaptureTally {
  int64_t replays = 0;  ///< steps of this run
  int64_t graphs = 0;
  int64_t nodes = 0;    ///< kernels, copies and fills of the last step's graph; 0 if it was no replay
  std::string refusal;  ///< why some steps cannot be captured; empty if all can
};

struct Outcome {
  Ending ending = Ending::kFinished;
  /// What went wrong, a line each: what a sink could not do, and why the run ended.
  std::vector<std::string> errors;
  int64_t steps = 0;                       ///< optimiser steps that were enqueued, also before a resumption
  std::optional<int64_t> skipped_updates;  ///< of these steps; nothing without a GradScaler
  std::optional<double> loss;              ///< of the last step, whatever it was
  std::optional<Score> score;              ///< of the last evaluation
  std::vector<double> speeds;  ///< images per second of each step, without the first ones, which fill caches
  double seconds = 0;
  std::optional<int64_t> optimizer_bytes;  ///< of this rank's optimiser, for momentum and the like
  CheckpointTally checkpoints;
  std::optional<CaptureTally> capture;  ///< nothing if steps were not to be captured

  /// Returns the median speed; 0 before the first step.
  double images_per_second() const;
};

/// A loss was NaN or infinite, or gradients were, for too many updates in a row.
class NotFiniteError : public Error {
 public:
  using Error::Error;
};

/// Throws NotFiniteError if `loss` is NaN or infinite: "the WHAT became nan WHEN", or "the WHAT is nan" if
/// `when` is empty.
void check_finite(double loss, const std::string& what, const std::string& when);

}  // namespace taper
