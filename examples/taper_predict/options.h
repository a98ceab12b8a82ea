#pragma once
// The command line of taper-predict.

#include <optional>
#include <string>
#include <vector>

#include "taper/core/base/device.h"
#include "taper/core/base/dtype.h"
#include "taper/nn/report/progress.h"

namespace taper {

enum class OutputFormat { kTable, kJsonLines, kCsv };

struct PredictOptions {
  // Images.
  std::vector<std::string> paths;  ///< images and folders
  std::string list;                ///< file of further paths; "-": standard input
  bool null_separated = false;     ///< the list's paths end with a zero byte
  int workers = 2;

  // Model.
  std::string weights;
  bool eval_ema = true;
  std::string arch;    ///< empty: what the file says, or its tensors tell
  int image_size = 0;  ///< 0: what the file says, or 224
  int resize = 0;      ///< 0: what the file says, or image_size * 256 / 224
  std::string classes;

  // Output.
  int64_t top = 5;
  OutputFormat format = OutputFormat::kTable;
  std::string out;  ///< empty: standard output
  ProgressMode progress = ProgressMode::kAuto;

  // Running.
  Device device;
  std::optional<DType> amp;  ///< f16 or bf16: mixed precision
  int64_t batch_size = 32;
  int threads = 0;  ///< 0: all CPUs
};

/// Fills `options`. Returns an exit code after --help and --version (0), and after one line about a bad command line (2).
std::optional<int> parse_options(int argc, char** argv, PredictOptions& options);

}  // namespace taper
