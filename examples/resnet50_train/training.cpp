#include "training.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <new>
#include <utility>

#include "taper/autograd/functions.h"
#include "taper/autograd/tape/engine.h"
#include "taper/autograd/tape/grad_mode.h"
#include "taper/core/base/parallel.h"
#include "taper/core/files/atomic_file.h"
#include "taper/core/files/output_target.h"
#include "taper/core/files/program.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/tf32.h"
#include "taper/nn/data/dataset.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/report/accuracy.h"
#include "taper/nn/report/memory_report.h"
#include "taper/nn/serve/inference_form.h"
#include "taper/ops/algorithms/algorithm_cache.h"
#include "taper/ops/elementwise/elementwise.h"
#include "taper/ops/reduce/reduce.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The first steps fill caches; the summary's speed leaves them out.
constexpr size_t kWarmupSteps = 3;

/// A loss was NaN or infinite.
class NotFiniteError : public Error {
 public:
  using Error::Error;
};

/// The first tensor that holds NaN or infinity; "" if all are finite.
std::string name_of_not_finite(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors)
    if (ops::item(ops::sum(ops::isfinite(tensor))) != double(tensor.numel())) return name;
  return {};
}

/// "cpu", or "cuda:0 (NVIDIA H200)".
std::string describe(Device device) {
  if (device.is_cpu()) return device.str();
  return fmt::format("{} ({})", device, gpu::properties(device.index).name);
}

ProgressMode progress_mode(const std::string& text) {
  if (text == "on") return ProgressMode::kOn;
  return text == "off" ? ProgressMode::kOff : ProgressMode::kAuto;
}

std::shared_ptr<LrScheduler> make_schedule(Optimizer& optimizer, const std::string& name, int64_t steps) {
  if (name == "cosine") return std::make_shared<CosineAnnealingLr>(optimizer, steps);
  if (name == "step")
    return std::make_shared<MultiStepLr>(optimizer,
                                         std::vector<int64_t>{(steps + 2) / 3, (2 * steps + 2) / 3});
  return std::make_shared<MultiStepLr>(optimizer, std::vector<int64_t>{});  // constant
}

/// How many pictures the synthetic data set holds: an epoch of it is as long as it needs to be.
constexpr int64_t kSyntheticPictures = 12800;
constexpr int64_t kSyntheticClasses = 1000;

}  // namespace

Training::Training(const TrainOptions& options)
    : options_(options), progress_(progress_mode(options.progress)) {
  if (options_.threads > 0) set_num_threads(options_.threads);
  if (options_.benchmark) algorithm_cache().set_mode(AlgorithmMode::kBenchmark);
  if (options_.benchmark_seconds > 0)
    algorithm_cache().set_benchmark_limits({.seconds_in_all = options_.benchmark_seconds});
  if (options_.deterministic) algorithm_cache().set_mode(AlgorithmMode::kDeterministic);
  if (options_.tf32) {
    set_allow_tf32_matmul(*options_.tf32);
    set_allow_tf32_conv(*options_.tf32);
  }
  manual_seed(options_.seed);
  try {
    check_outputs();
    load_data();
    build_model();
    if (!options_.log.empty()) log_ = std::make_unique<StepLog>(options_.log);
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const Error& error) {
    throw BadInput(error.what());
  }
}

void Training::check_outputs() const {
  std::vector<std::pair<const char*, OutputTarget>> files;
  const auto add = [&](const char* flag, const std::string& path) {
    if (!path.empty()) files.emplace_back(flag, OutputTarget(path));
  };
  add("--log", options_.log);
  for (const auto& [flag, path] : {std::pair<const char*, const std::string&>("--summary", options_.summary),
                                   {"--profile", options_.profile},
                                   {"--memory-report", options_.memory_report}}) {
    add(flag, path);
    if (!path.empty()) AtomicFile::check(path);  // before hours of work, not after
  }
  if (std::error_code unknown; std::filesystem::is_regular_file(options_.init, unknown))
    add("--init", options_.init);
  for (size_t i = 0; i < files.size(); ++i) {
    for (size_t j = 0; j < i; ++j)
      TAPER_CHECK(!files[i].second.is_same_file(files[j].second), "{} and {} name the same file, {}",
                  files[j].first, files[i].first, files[i].second.path());
  }
}

void Training::load_data() {
  std::shared_ptr<const Dataset> train, validation;
  if (options_.dataset == "digits") {
    train = std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain);
    validation = std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest);
  } else if (options_.dataset == "synthetic") {
    const int64_t classes = options_.num_classes > 0 ? options_.num_classes : kSyntheticClasses;
    train =
        std::make_shared<SyntheticDataset>(kSyntheticPictures, classes, options_.image_size, options_.seed);
  } else {
    const auto open = [this](const std::string& folder) {
      auto dataset = std::make_shared<ImageFolderDataset>(folder);
      if (const std::string others = dataset->passed_over().str(); !others.empty())
        notes_.push_back(fmt::format("passed over in {}: {}", printable(folder), others));
      return dataset;
    };
    if (!options_.data.empty()) train = open(options_.data);
    if (!options_.val.empty()) validation = open(options_.val);
    if (train && validation) check_same_classes(*train, *validation);
    if (train && !options_.eval_only) check_readable(*train);
    if (validation) check_readable(*validation);
  }
  const int64_t found = (train ? train : validation)->num_classes();
  num_classes_ = options_.num_classes > 0 ? options_.num_classes : found;
  TAPER_CHECK(num_classes_ >= found, "--num-classes {}: the data set has {} classes", num_classes_, found);

  const ImageTransform evaluation = evaluation_transform(
      options_.image_size,
      options_.dataset == "digits" && options_.resize == 0 ? options_.image_size : options_.resize);
  if (train && !options_.eval_only) {
    ImageTransform transform = options_.augment ? training_transform(options_.image_size) : evaluation;
    if (options_.dataset == "digits") transform.flip = false;  // a mirrored digit is no digit
    train_ = std::make_unique<DataLoader>(
        train, transform,
        DataLoaderOptions{.batch_size = std::min(options_.batch_size, train->size()),
                          .shuffle = options_.shuffle,
                          .drop_last = true,
                          .workers = options_.workers,
                          .broken = options_.strict_data ? BrokenPictures::kRefuse : BrokenPictures::kReplace,
                          .device = options_.device,
                          .dtype = options_.dtype,
                          .seed = options_.seed});
  }
  if (validation) {
    validation_ = std::make_unique<DataLoader>(
        validation, evaluation,
        DataLoaderOptions{.batch_size = options_.batch_size,
                          .workers = options_.workers,
                          .broken = options_.strict_data ? BrokenPictures::kRefuse : BrokenPictures::kSkip,
                          .device = options_.device,
                          .dtype = options_.dtype,
                          .seed = options_.seed});
  }
}

void Training::build_model() {
  // NOLINTNEXTLINE(modernize-make-unique): a ResNet can be neither copied nor moved into place.
  model_.reset(new ResNet(make_resnet(
      options_.arch, {.num_classes = num_classes_, .zero_init_residual = options_.zero_init_residual})));
  model_->to(options_.dtype);
  if (!options_.init.empty()) {
    try {
      const Safetensors weights = load_safetensors(options_.init);
      model_->load_state_dict(weights.tensors_for(model_->state_dict()));
    } catch (const FileError&) {
      throw;
    } catch (const Error& error) {
      fail("--init {}: {}", options_.init, error.what());
    }
    not_finite_ = name_of_not_finite(model_->state_dict());
  }
}

void Training::prepare() {
  if (!options_.memory_report.empty()) record_memory_history();
  model_->to(options_.device);
  if (!train_) return;
  build_optimizer();
  if (!options_.profile.empty()) profile_ = std::make_unique<StepProfile>(options_.profile, total_steps_);
}

void Training::build_optimizer() {
  const int64_t batches = std::min(options_.accumulate, train_->batches_per_epoch());
  images_per_step_ = train_->options().batch_size * batches;
  if (!options_.lr) options_.lr = options_.optimizer == "sgd" ? 0.1 * double(images_per_step_) / 256 : 1e-3;
  const NamedTensors parameters = model_->named_parameters();
  if (options_.optimizer == "sgd") {
    optimizer_ = std::make_unique<SGD>(parameters, SgdOptions{.lr = *options_.lr,
                                                              .momentum = options_.momentum,
                                                              .weight_decay = *options_.weight_decay});
  } else {
    optimizer_ = std::make_unique<AdamW>(
        parameters, AdamWOptions{.lr = *options_.lr, .weight_decay = *options_.weight_decay});
  }
  if (options_.ema > 0) {
    // The running statistics belong to the averaged weights as much as the weights do.
    NamedTensors state = model_->named_parameters();
    for (const auto& buffer : model_->named_buffers()) state.push_back(buffer);
    ema_ = std::make_unique<Ema>(state, options_.ema);
  }
  steps_per_epoch_ = std::max<int64_t>(train_->batches_per_epoch() / options_.accumulate, 1);
  total_steps_ = options_.epochs * steps_per_epoch_;
  if (options_.max_steps > 0) total_steps_ = std::min(total_steps_, options_.max_steps);
  const auto warmup =
      std::min(int64_t(std::llround(options_.warmup_epochs * double(steps_per_epoch_))), total_steps_ - 1);
  schedule_ =
      with_warmup(*optimizer_, warmup, make_schedule(*optimizer_, options_.schedule, total_steps_ - warmup));
}

void Training::print_header() const {
  const std::string data =
      options_.dataset == "imagefolder" ? (train_ ? options_.data : options_.val) : options_.dataset;
  print_out("{} ({} parameters, {} classes) on {}, {} px, {}, {}, {} threads\n", options_.arch,
            model_->parameter_count(), num_classes_, printable(data), options_.image_size,
            describe(options_.device), options_.dtype, num_threads());
  if (train_) {
    print_out("{} pictures to learn from{}, {} steps of {} pictures, {} lr {:g} {}\n",
              train_->dataset().size(),
              validation_ ? fmt::format(", {} to be judged by", validation_->dataset().size()) : "",
              total_steps_, images_per_step_, options_.optimizer, *options_.lr, options_.schedule);
  }
  for (const std::string& note : notes_) print_out("{}\n", note);
  std::fflush(stdout);
}

const Outcome& Training::run(const std::function<bool()>& interrupted) {
  start_ = Clock::now();
  try {
    prepare();
    print_header();
    if (options_.eval_only) {
      score_ = evaluate(interrupted);
    } else {
      train(interrupted);
    }
    if (interrupted()) outcome_.ending = Ending::kInterrupted;
  } catch (const NotFiniteError& error) {
    end_early(Ending::kNotFinite, error.what());
  } catch (const OutOfMemoryError& error) {
    end_early(Ending::kOutOfMemory, error.what());
  } catch (const std::bad_alloc&) {
    end_early(Ending::kOutOfMemory, "out of memory: the system has no more to give");
  } catch (const std::exception& error) {
    end_early(Ending::kFailed, error.what());
  }
  write_results();
  return outcome_;
}

void Training::train(const std::function<bool()>& interrupted) {
  for (int64_t epoch = 0; step_ < total_steps_ && !interrupted(); ++epoch) {
    const double loss = train_epoch(epoch, interrupted);
    if (interrupted()) return;
    const std::optional<Score> score = evaluate(interrupted);
    if (score) score_ = score;
    progress_.clear();
    print_out("epoch {:>{}}/{}  loss {:.4f}", epoch + 1, std::to_string(options_.epochs).size(),
              options_.epochs, loss);
    if (score)
      print_out("  val loss {:.4f}  top1 {:.2f}%  top5 {:.2f}%", score->loss, 100 * score->top1,
                100 * score->top5);
    print_out("  {:.0f} img/s  {}\n", images_per_second(), format_duration(seconds_since(start_)));
    std::fflush(stdout);
    if (epoch == 0) report_broken();
  }
}

double Training::train_epoch(int64_t epoch, const std::function<bool()>& interrupted) {
  model_->train();
  train_->start(epoch);
  last_finish_ = Clock::now();
  double loss_sum = 0;
  int64_t steps = 0;
  while (step_ < total_steps_ && steps < steps_per_epoch_ && !interrupted()) {
    if (profile_) profile_->begin_step(step_ + 1);
    std::vector<Batch> batches;
    int64_t images = 0;
    while (int64_t(batches.size()) < options_.accumulate) {
      std::optional<Batch> batch = train_->next();
      if (!batch) break;
      images += batch->size();
      batches.push_back(std::move(*batch));
    }
    if (batches.empty()) break;
    const double lr = optimizer_->lr();
    StepInFlight& step = in_flight_.emplace_back();
    step.losses = train_step(batches);
    if (options_.device.is_cuda())
      step.losses_arrived.emplace().record(gpu::current_stream(options_.device.index));
    step.step = ++step_;
    step.epoch = epoch;
    step.images = images;
    step.lr = lr;
    ++steps;
    const size_t may_fly = options_.device.is_cuda() ? 1 : 0;
    while (in_flight_.size() > may_fly) loss_sum += finish_step();
    if (profile_ && !could([&] { profile_->end_step(); })) {
      profile_.reset();
      report_unwritten();
    }
  }
  while (!in_flight_.empty()) loss_sum += finish_step();
  return steps > 0 ? loss_sum / double(steps) : 0;
}

std::vector<Tensor> Training::train_step(const std::vector<Batch>& batches) {
  optimizer_->zero_grad();
  std::vector<Tensor> losses;
  for (const Batch& batch : batches) {
    const Tensor loss =
        cross_entropy((*model_)(batch.images), batch.labels, {.label_smoothing = options_.label_smoothing});
    (batches.size() > 1 ? loss / double(batches.size()) : loss).backward();
    losses.push_back(loss.detach().to(kCPU, true));
  }
  if (options_.clip_grad > 0) clip_grad_norm(model_->parameters(), options_.clip_grad);
  optimizer_->step();
  if (ema_) ema_->update();
  schedule_->step();
  return losses;
}

double Training::images_per_second() const {
  std::vector<double> speeds = speeds_;
  if (speeds.empty()) return 0;
  const size_t middle = speeds.size() / 2;
  std::nth_element(speeds.begin(), speeds.begin() + ptrdiff_t(middle), speeds.end());
  return speeds[middle];
}

double Training::finish_step() {
  const StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (step.losses_arrived) step.losses_arrived->synchronize();
  double mean = 0;
  for (const Tensor& loss : step.losses) mean += loss.item() / double(step.losses.size());
  last_loss_ = mean;
  check_finite("loss", mean, fmt::format("in step {}", step.step));
  const double speed = double(step.images) / seconds_since(last_finish_);
  last_finish_ = Clock::now();
  if (size_t(step.step) > kWarmupSteps || size_t(total_steps_) <= kWarmupSteps) speeds_.push_back(speed);
  const int64_t memory = allocator_for(options_.device).stats().allocated_bytes;
  if (log_) {
    StepRecord record{.step = step.step, .epoch = step.epoch, .loss = mean, .lr = step.lr};
    if (!options_.deterministic) {
      record.images_per_second = speed;
      record.device_memory_bytes = memory;
    }
    if (!could([&] { log_->write(record); })) {
      log_.reset();
      report_unwritten();
    }
  }
  progress_.update(fmt::format("epoch {}/{}", step.epoch + 1, options_.epochs), step.step, total_steps_,
                   fmt::format("loss {:.4f}  lr {:.4g}  {:.0f} img/s  mem {}", mean, step.lr, speed,
                               format_bytes(memory)));
  return mean;
}

std::optional<Training::Score> Training::evaluate(const std::function<bool()>& interrupted) {
  if (!validation_) return std::nullopt;
  const NoGradGuard no_grad;
  std::optional<EmaScope> averaged;
  if (ema_) averaged.emplace(*ema_);
  model_->eval();
  const InferenceForm form(*model_);
  Accuracy accuracy;
  std::vector<std::pair<Tensor, int64_t>> losses;  // read at the end: until then nothing waits for a GPU
  validation_->start(0);
  while (const std::optional<Batch> batch = validation_->next()) {
    if (interrupted()) return std::nullopt;
    const Tensor logits = (*model_)(batch->images);
    losses.emplace_back(cross_entropy(logits, batch->labels), batch->size());
    accuracy.add(logits, batch->labels);
    progress_.update("validation", batch->step + 1, validation_->batches_per_epoch(), "");
  }
  double loss_sum = 0;
  for (const auto& [loss, count] : losses) loss_sum += loss.item() * double(count);
  TAPER_CHECK(accuracy.count() > 0, "the validation set has no readable picture");
  const double loss = loss_sum / double(accuracy.count());
  check_finite("validation loss", loss, train_ ? fmt::format("after step {}", step_) : "");
  return Score{accuracy.top1(), accuracy.top5(), loss};
}

void Training::check_finite(const char* what, double loss, const std::string& when) const {
  if (std::isfinite(loss)) return;
  const std::string number = std::isnan(loss) ? "nan" : fmt::format("{}", loss);
  std::string message = train_ ? fmt::format("the {} became {} {}", what, number, when)
                               : fmt::format("the {} is {}", what, number);
  if (!not_finite_.empty()) {
    message += fmt::format(": in --init {}, {} holds NaN or infinity", options_.init, not_finite_);
  } else if (train_) {
    message += "; try a smaller --lr or --clip-grad 1";
  }
  throw NotFiniteError(message);
}

}  // namespace taper
