#pragma once
// A training step of this machine, taken apart: how long the passes take, and when each gradient is ready.

#include <memory>
#include <optional>
#include <string>

#include "bench/scaling/timeline.h"
#include "taper/core/tensor.h"
#include "taper/nn/models/resnet.h"
#include "taper/nn/optim/sgd.h"

namespace taper::scaling {

struct StepOptions {
  std::string device = "cpu", arch = "resnet50", precision = "f32";  ///< f32, or bf16: autocast
  int64_t batch = 32, size = 224, repeats = 5;
};

/// A ResNet that trains on images which stay on the device.
class Training {
 public:
  explicit Training(const StepOptions& options);

  /// Runs a step, from an idle device to an idle device. Returns its seconds.
  double step();
  /// Returns the medians of `repeats` steps, after two that are not counted. Gradients are timed by hooks: on a GPU by
  /// events that are recorded behind the work that makes them.
  Step measure();
  ResNet& model() { return model_; }

 private:
  class Recorder;

  StepOptions options_;
  Device device_;
  ResNet model_;
  std::optional<SGD> optimizer_;
  Tensor images_, labels_;
  std::shared_ptr<Recorder> recorder_;  ///< while measure() runs
};

/// Writes and reads the step as JSON. Reading throws Error for a file of another kind or without gradients.
void save_step(const std::string& path, const Step& step);
Step load_step(const std::string& path);
std::string to_text(const Step& step);
Step step_from_text(const std::string& text);

}  // namespace taper::scaling
