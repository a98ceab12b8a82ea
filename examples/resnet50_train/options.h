#pragma once
// The command line of resnet50_train: every flag, its default and its check. docs/ and scripts rely on these
// names; a flag is here only once it works.

#include <cstdint>
#include <optional>
#include <string>

#include "taper/core/base/device.h"
#include "taper/core/base/dtype.h"
#include "taper/nn/report/progress.h"

namespace taper {

struct TrainOptions {
  // Data.
  std::string dataset = "digits";
  std::string data;         ///< training folder of imagefolder
  std::string val;          ///< validation folder of imagefolder
  int image_size = 0;       ///< 0: 32 for digits, else 224
  int resize = 0;           ///< 0: image_size * 256 / 224
  int64_t num_classes = 0;  ///< 0: as many as the data set has
  bool augment = true;
  bool shuffle = true;
  bool strict_data = false;
  int workers = 2;

  // Model.
  std::string arch = "resnet50";
  std::string init;  ///< safetensors file with all weights
  bool zero_init_residual = true;
  DType dtype = kFloat32;

  // Optimisation.
  int64_t epochs = 0;      ///< 0: chosen by data set
  int64_t max_steps = 0;   ///< 0: no limit
  int64_t batch_size = 0;  ///< 0: chosen by data set
  int64_t accumulate = 1;
  std::string optimizer;     ///< empty: chosen by data set
  std::optional<double> lr;  ///< default chosen by optimiser and images in a step
  double momentum = 0.9;
  std::optional<double> weight_decay;
  std::string schedule = "cosine";
  double warmup_epochs = -1;  ///< negative: 1 for cosine and step, 0 for constant
  double label_smoothing = 0;
  double ema = 0;
  double clip_grad = 0;

  // Running.
  Device device;
  bool benchmark = false;
  double benchmark_seconds = 0;  ///< 0: no limit
  bool deterministic = false;
  std::optional<bool> tf32;  ///< as core/tf32.h has it
  uint64_t seed = 0;
  int threads = 0;  ///< 0: all CPUs
  bool eval_only = false;
  std::string log;
  std::string summary;
  std::string profile;
  std::string memory_report;
  ProgressMode progress = ProgressMode::kAuto;
};

/// Why the command line ends the program: text for the user and an exit code.
struct Exit {
  int code = 0;
};

/// Fills `options`. Returns an Exit after --help, --version (code 0) or a bad flag (one line on stderr naming
/// it, code 2).
std::optional<Exit> parse_options(int argc, char** argv, TrainOptions& options);

}  // namespace taper
