#include "setup.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "report.h"
#include "taper/core/base/parallel.h"
#include "taper/core/base/printable.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/output_target.h"
#include "taper/core/generator.h"
#include "taper/core/tf32.h"
#include "taper/nn/data/dataset.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/data/image_folder.h"
#include "taper/nn/data/synthetic_dataset.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/step_log.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {
namespace {

/// How many images the synthetic data set holds: an epoch of it is as long as it needs to be.
constexpr int64_t kSyntheticImages = 12800;
constexpr int64_t kSyntheticClasses = 1000;

/// The first tensor that holds NaN or infinity; "" if all are finite.
std::string name_of_not_finite(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors)
    if (ops::item(ops::sum(ops::isfinite(tensor))) != double(tensor.numel())) return name;
  return {};
}

struct Datasets {
  std::shared_ptr<const Dataset> train, validation;
};

Datasets open_folders(const TrainOptions& options, std::vector<std::string>& notes) {
  const auto open = [&](const std::string& folder) -> std::shared_ptr<const Dataset> {
    if (folder.empty()) return nullptr;
    auto dataset = std::make_shared<ImageFolderDataset>(folder);
    if (const std::string others = dataset->passed_over().str(); !others.empty())
      notes.push_back(fmt::format("passed over in {}: {}", printable(folder), others));
    return dataset;
  };
  const Datasets sets = {open(options.data), open(options.val)};
  if (sets.train && sets.validation) check_same_classes(*sets.train, *sets.validation);
  if (sets.train && !options.eval_only) check_readable(*sets.train);
  if (sets.validation) check_readable(*sets.validation);
  return sets;
}

Datasets open_datasets(const TrainOptions& options, std::vector<std::string>& notes) {
  if (options.dataset == "digits")
    return {std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain),
            std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest)};
  if (options.dataset == "imagefolder") return open_folders(options, notes);
  const int64_t classes = options.num_classes > 0 ? options.num_classes : kSyntheticClasses;
  return {std::make_shared<SyntheticDataset>(kSyntheticImages, classes, options.image_size, options.seed),
          nullptr};
}

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
                                   {"--memory-report", options.memory_report}}) {
    add(flag, path);
    if (!path.empty()) AtomicFile::check(path);  // before hours of work, not after
  }
  if (std::error_code unknown; std::filesystem::is_regular_file(options.init, unknown))
    add("--init", options.init);
  for (size_t i = 0; i < files.size(); ++i) {
    for (size_t j = 0; j < i; ++j)
      TAPER_CHECK(!files[i].second.is_same_file(files[j].second), "{} and {} name the same file, {}",
                  files[j].first, files[i].first, files[i].second.path());
  }
}

Data load_data(const TrainOptions& options) {
  Data data;
  const auto [train, validation] = open_datasets(options, data.notes);
  const int64_t found = (train ? train : validation)->num_classes();
  data.num_classes = options.num_classes > 0 ? options.num_classes : found;
  TAPER_CHECK(data.num_classes >= found, "--num-classes {}: the data set has {} classes", data.num_classes,
              found);
  const bool digits = options.dataset == "digits";
  const ImageTransform evaluation = evaluation_transform(
      options.image_size, digits && options.resize == 0 ? options.image_size : options.resize);
  if (train && !options.eval_only) {
    ImageTransform transform = options.augment ? training_transform(options.image_size) : evaluation;
    if (digits) transform.flip = false;  // a mirrored digit is no digit
    data.train = std::make_unique<DataLoader>(
        train, transform,
        DataLoaderOptions{.batch_size = std::min(options.batch_size, train->size()),
                          .shuffle = options.shuffle,
                          .drop_last = true,
                          .workers = options.workers,
                          .broken = options.strict_data ? BrokenImages::kRefuse : BrokenImages::kReplace,
                          .device = options.device,
                          .dtype = options.dtype,
                          .seed = options.seed});
  }
  if (validation) {
    data.validation = std::make_unique<DataLoader>(
        validation, evaluation,
        DataLoaderOptions{.batch_size = options.batch_size,
                          .workers = options.workers,
                          .broken = options.strict_data ? BrokenImages::kRefuse : BrokenImages::kSkip,
                          .device = options.device,
                          .dtype = options.dtype,
                          .seed = options.seed});
  }
  return data;
}

std::unique_ptr<ResNet> build_model(const TrainOptions& options, int64_t num_classes) {
  // NOLINTNEXTLINE(modernize-make-unique): a ResNet can be neither copied nor moved into place.
  std::unique_ptr<ResNet> model(new ResNet(make_resnet(
      options.arch, {.num_classes = num_classes, .zero_init_residual = options.zero_init_residual})));
  model->to(options.dtype);
  if (options.init.empty()) return model;
  try {
    const Safetensors weights = load_safetensors(options.init);
    model->load_state_dict(weights.tensors_for(model->state_dict()));
  } catch (const FileError&) {
    throw;
  } catch (const Error& error) {
    fail("--init {}: {}", options.init, error.what());
  }
  return model;
}

double peak_lr(const TrainOptions& options, const TrainPlan& plan) {
  if (options.lr) return *options.lr;
  return options.optimizer == "sgd" ? 0.1 * double(plan.images_per_step) / 256 : 1e-3;
}

}  // namespace

std::vector<std::string> Data::unreadable() const {
  std::set<std::string> all;  // one folder may serve for both
  for (const DataLoader* loader : {train.get(), validation.get()})
    if (loader) std::ranges::copy(loader->broken_images(), std::inserter(all, all.end()));
  return {all.begin(), all.end()};
}

Setup::Setup(const TrainOptions& options) {
  apply_settings(options);
  try {
    check_outputs(options);
    data = load_data(options);
    model = build_model(options, data.num_classes);
    if (!options.init.empty()) not_finite = name_of_not_finite(model->state_dict());
    if (data.train)
      plan = TrainPlan(
          *data.train,
          {.epochs = options.epochs, .max_steps = options.max_steps, .accumulate = options.accumulate});
    lr = peak_lr(options, plan);
    if (!options.profile.empty())
      profile = std::make_shared<ProfileReport>(options.profile, plan.total_steps);
    if (!options.log.empty())
      log = std::make_shared<StepLog>(options.log, StepLogOptions{.deterministic = options.deterministic});
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const Error& error) {
    throw BadInput(error.what());
  }
}

std::unique_ptr<Optimizer> make_optimizer(const TrainOptions& options, const ResNet& model, double lr) {
  const NamedTensors parameters = model.named_parameters();
  const double decay = *options.weight_decay;
  if (options.optimizer == "sgd")
    return std::make_unique<SGD>(parameters,
                                 SgdOptions{.lr = lr, .momentum = options.momentum, .weight_decay = decay});
  return std::make_unique<AdamW>(parameters, AdamWOptions{.lr = lr, .weight_decay = decay});
}

std::unique_ptr<Ema> make_ema(const TrainOptions& options, const ResNet& model) {
  if (options.ema == 0) return nullptr;
  // The running statistics belong to the averaged weights as much as the weights do.
  NamedTensors state = model.named_parameters();
  for (const auto& buffer : model.named_buffers()) state.push_back(buffer);
  return std::make_unique<Ema>(state, options.ema);
}

std::shared_ptr<LrScheduler> make_schedule(const TrainOptions& options, Optimizer& optimizer,
                                           const TrainPlan& plan) {
  const auto warmup = std::min(int64_t(std::llround(options.warmup_epochs * double(plan.steps_per_epoch))),
                               plan.total_steps - 1);
  const int64_t steps = plan.total_steps - warmup;
  std::shared_ptr<LrScheduler> schedule;
  if (options.schedule == "cosine") {
    schedule = std::make_shared<CosineAnnealingLr>(optimizer, steps);
  } else {
    std::vector<int64_t> milestones;  // none: constant
    if (options.schedule == "step") milestones = {(steps + 2) / 3, (2 * steps + 2) / 3};
    schedule = std::make_shared<MultiStepLr>(optimizer, milestones);
  }
  return with_warmup(optimizer, warmup, schedule);
}

}  // namespace taper
