#pragma once
// RunSummary: the results of a run as a JSON file.

#include <functional>
#include <string>
#include <vector>

#include "taper/core/base/device.h"
#include "taper/core/base/dtype.h"
#include "taper/nn/train/sink.h"
#include "taper/ops/collective/process_group.h"

namespace taper {

/// What a summary says of a run besides its outcome.
struct RunDescription {
  std::string arch;     ///< "resnet50"
  std::string dataset;  ///< "digits"
  int64_t parameters = 0;
  Device device = kCPU;
  DType dtype = kFloat32;
  std::string amp = "off";              ///< mixed precision: "off", "bf16" or "fp16"
  const ProcessGroup* group = nullptr;  ///< the ranks that train together; null for one process
  /// Returns a line for each image that could not be read.
  std::function<std::vector<std::string>()> unreadable_images = {};
};

/// The last of a run's sinks, so that the summary names the files that could not be written.
class RunSummary : public TrainSink {
 public:
  RunSummary(std::string path, RunDescription description)
      : path_(std::move(path)), description_(std::move(description)) {}

  /// Writes the file. Throws FileError.
  void on_run_end(const Outcome& outcome) override;

 private:
  std::string path_;
  RunDescription description_;
};

}  // namespace taper
