#include "setup.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "model.h"
#include "optimisation.h"
#include "report.h"
#include "resume.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/printable.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/output_target.h"
#include "taper/core/generator.h"
#include "taper/core/tf32.h"
#include "taper/nn/io/weights.h"
#include "taper/nn/train/step_log.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "watching.h"

namespace taper {
namespace {

/// Sets threads, choice of algorithms, TF32 and seed.
void apply_settings(const TrainOptions& options) {
  if (options.threads > 0) set_num_threads(options.threads);
  if (options.benchmark) algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  if (options.benchmark_seconds > 0)
    algorithm_cache().set_benchmark_limits({.seconds_in_all = options.benchmark_seconds});
  if (options.deterministic) algorithm_cache().set_mode(AlgorithmMode::kDeterministic);
  if (options.tf32) {
    set_allow_tf32_matmul(*options.tf32);
    set_allow_tf32_conv(*options.tf32);
  }
  manual_seed(options.seed);
}

/// Throws Error if an output file cannot be written, or two flags name one file. Changes no file.
void check_outputs(const TrainOptions& options) {
  std::vector<std::pair<const char*, OutputTarget>> files;
  const auto add = [&](const char* flag, const std::string& path) {
    if (!path.empty()) files.emplace_back(flag, OutputTarget(path));
  };
  add("--log", options.log);
  for (const auto& [flag, path] : {std::pair<const char*, const std::string&>("--summary", options.summary),
                                   {"--profile", options.profile},
                                   {"--memory-report", options.memory_report},
                                   {"--report", options.report}}) {
    add(flag, path);
    if (!path.empty()) AtomicFile::check(path);  // before hours of work, not after
  }
  for (const auto& [flag, path] :
       {std::pair("--init", options.init), std::pair("--pretrained", options.pretrained)}) {
    const std::string weights = weights_file(path);
    if (std::error_code unknown; std::filesystem::is_regular_file(weights, unknown)) add(flag, weights);
  }
  for (size_t i = 0; i < files.size(); ++i) {
    for (size_t j = 0; j < i; ++j)
      TAPER_CHECK(!files[i].second.is_same_file(files[j].second), "{} and {} name the same file, {}",
                  files[j].first, files[i].first, files[i].second.path());
  }
}

/// A run that goes on takes its weights from the checkpoint, whatever the former one began with.
TrainOptions without_weights(TrainOptions options) {
  options.init.clear();
  options.pretrained.clear();
  return options;
}

}  // namespace

void Setup::open_checkpoints(const TrainOptions& options) {
  try {
    checkpoints = std::make_unique<CheckpointWriter>(options.checkpoint_dir, options.keep);
  } catch (const FileError& error) {
    fail("--checkpoint-dir: {}", error.what());
  }
}

std::shared_ptr<TrainSink> Setup::open_log(const TrainOptions& options) {
  const TrainProgress before = start ? progress_of(*start) : TrainProgress();
  StepLogOptions log_options = {.deterministic = options.deterministic, .keep_steps = before.step};
  if (before.first_loss) log_options.losses[1] = *before.first_loss;
  if (before.loss) log_options.losses[before.step] = *before.loss;
  auto opened = std::make_shared<StepLog>(options.log, log_options);
  if (opened->last_kept_step() < before.step && !OutputTarget(options.log).is_stream())
    data.notes.push_back(fmt::format("{} lacks steps {} to {}", printable(options.log),
                                     opened->last_kept_step() + 1, before.step));
  return opened;
}

Setup::Setup(const TrainOptions& options) {
  apply_settings(options);
  as_bad_input([&] { prepare(options); });
}

void Setup::prepare(const TrainOptions& options) {
  check_outputs(options);
  std::error_code unknown;
  const bool writes = options.place.rank == 0;  // the only one that saves checkpoints
  if (writes && std::filesystem::exists(options.checkpoint_dir, unknown)) open_checkpoints(options);
  start = find_start(options);
  data = load_data(options);
  const TrainOptions begin = start ? without_weights(options) : options;
  if (options.eval_only) {
    const std::optional<int64_t> classes = check_classes(options, data.validation->dataset().class_names());
    if (classes && options.num_classes == 0) data.num_classes = *classes;
    if (const int64_t found = data.validation->dataset().num_classes(); !classes && found < data.num_classes)
      data.notes.push_back(
          fmt::format("the network has {} classes and the data set {}: are they the first ones?",
                      data.num_classes, found));
  }
  if (!options.without_effect.empty())
    data.notes.push_back(
        fmt::format("--eval-only does not train: no effect has {}", fmt::join(options.without_effect, ", ")));
  model = build_model(begin, data.num_classes, data.notes);
  if (data.train && begin.has_weights()) {
    const auto note = note_of_other_classes(begin, data.train->dataset().class_names());
    if (note) data.notes.push_back(*note);
  }
  TAPER_CHECK(!options.head_lr || model->fc.weight.requires_grad() || model->fc.bias.requires_grad(),
              "--head-lr is the last layer's, fc, which --freeze keeps from training");
  if (begin.has_weights()) not_finite = name_of_not_finite(model->state_dict());
  if (data.train)
    plan = TrainPlan(
        *data.train,
        {.epochs = options.epochs, .max_steps = options.max_steps, .accumulate = options.accumulate});
  lr = peak_lr(options, plan);
  if (start) {
    check_fits(*start, must_match(options, data, plan), describe_model(options, data));
    std::ranges::copy(describe_start(*start, options, plan, checkpoints ? &checkpoints->folder() : nullptr),
                      std::back_inserter(data.notes));
  }
  if (!options.profile.empty()) profile = std::make_shared<ProfileReport>(options.profile, plan.total_steps);
  if (writes && !options.checkpoint_dir.empty() && !checkpoints) open_checkpoints(options);
  if (!options.log.empty()) log = open_log(options);
  if (options.place.size == 1 && options.sync_batch_norm)
    data.notes.push_back("--sync-batch-norm changes nothing: there are no other ranks");
  if (options.place.size > 1 && !options.report.empty())
    data.notes.push_back("--report shows no predictions: each rank has its own images");
  if (options.place.size == 1 && data.validation && (!options.tensorboard.empty() || !options.report.empty()))
    predictions = std::make_unique<Predictions>();
  if (data.train) history = std::make_shared<RunHistory>();
  page = make_page(options, *this);
  tensorboard = make_tensorboard(options, *this);
}

}  // namespace taper
