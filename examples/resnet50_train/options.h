#pragma once
// The command line of resnet50_train: every flag, its default and its check. docs/ and scripts rely on these
// names; a flag is here only once it works.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "taper/core/base/device.h"
#include "taper/core/base/dtype.h"
#include "taper/nn/models/freeze.h"
#include "taper/nn/report/progress.h"
#include "taper/ops/collective/rank_place.h"

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
  double mixup = 0;
  double cutmix = 0;
  double random_erasing = 0;
  bool shuffle = true;
  bool strict_data = false;
  int workers = 2;

  // Model.
  std::string arch = "resnet50";
  std::string init;        ///< file with all weights, PyTorch's or safetensors, or a checkpoint's folder
  std::string pretrained;  ///< file or folder with weights for other classes
  std::vector<std::string> freeze;  ///< names of parts that do not train
  std::optional<BatchNorms> freeze_batch_norm;
  bool sync_batch_norm = false;  ///< statistics over all ranks
  bool zero_init_residual = true;
  double dropout = 0;
  DType dtype = kFloat32;
  std::optional<DType> amp;  ///< f16 or bf16: mixed precision

  /// "off", "bf16" or "fp16".
  std::string amp_name() const { return !amp ? "off" : *amp == kBFloat16 ? "bf16" : "fp16"; }
  bool has_weights() const { return !init.empty() || !pretrained.empty(); }
  /// The flag that named the first weights, with its value: "--init FILE".
  std::string weights_flag() const {
    return pretrained.empty() ? "--init " + init : "--pretrained " + pretrained;
  }
  /// The images' dtype: that of the first convolution.
  DType image_dtype() const { return amp.value_or(dtype); }

  // Optimisation.
  int64_t epochs = 0;          ///< 0: chosen by data set
  int64_t max_steps = 0;       ///< 0: no limit
  int64_t batch_size = 0;      ///< of all ranks together; 0: chosen by data set
  int64_t batch_per_rank = 0;  ///< 0: batch_size decides
  int64_t accumulate = 1;
  std::string optimizer;           ///< empty: chosen by data set
  std::optional<double> lr;        ///< default chosen by optimiser and images in a step
  std::optional<double> momentum;  ///< of sgd and lars; default 0.9
  bool nesterov = false;
  std::optional<double> weight_decay;
  std::optional<bool> decay_norms;  ///< default: off for lamb and lars, else on
  std::optional<double> head_lr;
  double layer_decay = 1;
  double label_smoothing = 0;
  double ema = 0;
  std::optional<bool> eval_ema;  ///< whether the average is evaluated where there is one; yes by default
  double clip_grad = 0;

  // Schedule.
  std::string schedule = "cosine";
  double warmup_epochs = -1;        ///< negative: 0 for constant, else 1
  std::vector<int64_t> milestones;  ///< epochs of step; empty: after 1/3 and 2/3
  std::optional<double> lr_gamma;   ///< of step, exponential and plateau
  std::optional<double> lr_power;   ///< of polynomial
  std::optional<double> min_lr;     ///< of cosine, polynomial and plateau
  std::optional<int64_t> patience;  ///< of plateau

  // Checkpoints.
  std::string checkpoint_dir;
  int64_t save_steps = 0;  ///< with save_minutes = 0: after each epoch
  double save_minutes = 0;
  int64_t keep = 3;
  std::string resume;                           ///< "auto", or a checkpoint's path
  double max_minutes = 0;                       ///< 0: no limit
  std::map<std::string, std::string> deciding;  ///< the flags given that decide what is computed

  // Running.
  RankPlace place;                  ///< this process among those that a launcher started
  double timeout_seconds = 600;     ///< for a rank to come to what all do together
  std::string flight_record;        ///< folder; empty: checkpoint_dir
  std::optional<DType> wire_dtype;  ///< bf16 or f16: what gradients travel in between ranks
  bool shard_optimizer = false;
  Device device;
  bool benchmark = false;
  double benchmark_seconds = 0;  ///< 0: no limit
  bool deterministic = false;
  bool split_batches = false;  ///< --oom split
  bool cuda_graph = false;
  std::optional<bool> tf32;  ///< as core/tf32.h has it
  uint64_t seed = 0;
  int threads = 0;  ///< 0: all CPUs
  bool eval_only = false;
  std::string log;
  std::string summary;
  std::string profile;
  std::string memory_report;
  ProgressMode progress = ProgressMode::kAuto;

  // Watching.
  std::string tensorboard;  ///< folder of event files
  std::string report;       ///< the run as a page
  int64_t early_stop = 0;   ///< epochs without a better score that end the run; 0: no limit

  /// The flags of the command line without dashes, and their values as they were written.
  std::vector<std::pair<std::string, std::string>> given;
  std::vector<std::string> without_effect;  ///< of --eval-only's flags, those that only training heeds
};

/// Why the command line ends the program: text for the user and an exit code.
struct Exit {
  int code = 0;
};

/// Fills `options`. Returns an Exit after --help, --version (code 0) or a bad flag (one line on stderr naming
/// it, code 2).
std::optional<Exit> parse_options(int argc, char** argv, TrainOptions& options);

}  // namespace taper
