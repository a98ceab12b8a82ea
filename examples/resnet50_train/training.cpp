#include "training.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "taper/autograd/engine.h"
#include "taper/autograd/functions.h"
#include "taper/autograd/grad_mode.h"
#include "taper/core/algorithm_cache.h"
#include "taper/core/atomic_file.h"
#include "taper/core/generator.h"
#include "taper/core/gpu/device_loss.h"
#include "taper/core/gpu/runtime.h"
#include "taper/core/parallel.h"
#include "taper/core/printable.h"
#include "taper/core/tf32.h"
#include "taper/nn/data/dataset.h"
#include "taper/nn/inference_form.h"
#include "taper/nn/io/safetensors.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/clip.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/report/accuracy.h"
#include "taper/nn/report/memory_report.h"
#include "taper/version.h"

namespace taper {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The first steps fill caches; the summary's speed leaves them out.
constexpr size_t kWarmupSteps = 3;

/// "cpu", or "cuda:0 (NVIDIA H200)".
std::string describe(Device device) {
  if (device.is_cpu()) return device.str();
  return fmt::format("{} ({})", device, gpu::properties(device.index).name);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + ptrdiff_t(middle), values.end());
  return values[middle];
}

ProgressMode progress_mode(const std::string& text) {
  if (text == "on") return ProgressMode::kOn;
  return text == "off" ? ProgressMode::kOff : ProgressMode::kAuto;
}

std::shared_ptr<LrScheduler> make_schedule(Optimizer& optimizer, const std::string& name, int64_t steps) {
  if (name == "cosine") return std::make_shared<CosineAnnealingLr>(optimizer, steps);
  if (name == "step")
    return std::make_shared<MultiStepLr>(optimizer, std::vector<int64_t>{steps / 3, steps * 2 / 3});
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
    load_data();
    build_model();
    build_optimizer();
    if (!options_.summary.empty()) AtomicFile writable(options_.summary);  // before hours of work, not after
    if (!options_.log.empty()) log_ = std::make_unique<StepLog>(options_.log);
    if (!options_.profile.empty()) profile_ = std::make_unique<StepProfile>(options_.profile, total_steps_);
    if (!options_.memory_report.empty()) {
      AtomicFile writable(options_.memory_report);
      record_memory_history();
    }
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const DeviceLostError&) {
    throw;
  } catch (const Error& error) {
    throw BadInput(error.what());
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
                          .raw_pixels = options_.device.is_cuda(),
                          .pinned_memory = options_.device.is_cuda(),
                          .seed = options_.seed});
  }
  if (validation) {
    validation_ = std::make_unique<DataLoader>(
        validation, evaluation,
        DataLoaderOptions{.batch_size = options_.batch_size,
                          .workers = options_.workers,
                          .broken = options_.strict_data ? BrokenPictures::kRefuse : BrokenPictures::kSkip,
                          .raw_pixels = options_.device.is_cuda(),
                          .pinned_memory = options_.device.is_cuda(),
                          .seed = options_.seed});
  }
  if (train_) train_batches_.emplace(*train_, options_.device, options_.dtype);
  if (validation_) validation_batches_.emplace(*validation_, options_.device, options_.dtype);
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
  }
  model_->to(options_.device);
}

void Training::build_optimizer() {
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
  if (!train_) return;
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
  fmt::print("{} ({} parameters, {} classes) on {}, {} px, {}, {}, {} threads\n", options_.arch,
             model_->parameter_count(), num_classes_, printable(data), options_.image_size,
             describe(options_.device), options_.dtype, num_threads());
  if (train_) {
    fmt::print("{} pictures to learn from{}, {} steps of {} pictures, {} lr {:g} {}\n",
               train_->dataset().size(),
               validation_ ? fmt::format(", {} to be judged by", validation_->dataset().size()) : "",
               total_steps_, train_->options().batch_size * options_.accumulate, options_.optimizer,
               *options_.lr, options_.schedule);
  }
  for (const std::string& note : notes_) fmt::print("{}\n", note);
  std::fflush(stdout);
}

void Training::run(const std::function<bool()>& interrupted) {
  print_header();
  try {
    run_to_end(interrupted);
  } catch (...) {
    progress_.clear();
    report_broken();
    throw;
  }
}

void Training::run_to_end(const std::function<bool()>& interrupted) {
  const auto start = Clock::now();
  if (options_.eval_only) {
    score_ = evaluate(interrupted);
    if (score_)
      fmt::print("top1 {:.2f}%  top5 {:.2f}%  loss {:.4f}\n", 100 * score_->top1, 100 * score_->top5,
                 score_->loss);
  }
  for (int64_t epoch = 0; train_ && step_ < total_steps_ && !interrupted(); ++epoch) {
    const double loss = train_epoch(epoch, interrupted);
    if (!interrupted()) score_ = evaluate(interrupted);
    progress_.clear();
    fmt::print("epoch {:>{}}/{}  loss {:.4f}", epoch + 1, std::to_string(options_.epochs).size(),
               options_.epochs, loss);
    if (score_)
      fmt::print("  val loss {:.4f}  top1 {:.2f}%  top5 {:.2f}%", score_->loss, 100 * score_->top1,
                 100 * score_->top5);
    fmt::print("  {:.0f} img/s  {}\n", median(images_per_second_), format_duration(seconds_since(start)));
    std::fflush(stdout);
    if (epoch == 0) report_broken();
  }
  progress_.clear();
  report_broken();
  if (options_.benchmark) report_benchmark();
  if (interrupted()) fmt::print("interrupted after {} of {} steps\n", step_, total_steps_);
  if (!options_.summary.empty()) write_summary(seconds_since(start), interrupted());
  write_reports();
}

double Training::train_epoch(int64_t epoch, const std::function<bool()>& interrupted) {
  model_->train();
  train_batches_->start(epoch);
  last_finish_ = Clock::now();
  double loss_sum = 0;
  int64_t steps = 0;
  while (step_ < total_steps_ && steps < steps_per_epoch_ && !interrupted()) {
    if (profile_) profile_->begin_step(step_ + 1);
    std::vector<Batch> batches;
    int64_t images = 0;
    while (int64_t(batches.size()) < options_.accumulate) {
      std::optional<Batch> batch = train_batches_->next();
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
    if (profile_) profile_->end_step();
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

double Training::finish_step() {
  const StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  if (step.losses_arrived) step.losses_arrived->synchronize();
  last_loss_ = 0;
  for (const Tensor& loss : step.losses) last_loss_ += loss.item() / double(step.losses.size());
  TAPER_CHECK(std::isfinite(last_loss_), "the loss became {} in step {}; try a smaller --lr or --clip-grad 1",
              last_loss_, step.step);
  const double speed = double(step.images) / seconds_since(last_finish_);
  last_finish_ = Clock::now();
  if (size_t(step.step) > kWarmupSteps || size_t(total_steps_) <= kWarmupSteps)
    images_per_second_.push_back(speed);
  const int64_t memory = allocator_for(options_.device).stats().allocated_bytes;
  if (log_) {
    StepRecord record{.step = step.step, .epoch = step.epoch, .loss = last_loss_, .lr = step.lr};
    if (!options_.deterministic) {
      record.images_per_second = speed;
      record.device_memory_bytes = memory;
    }
    log_->write(record);
  }
  progress_.update(fmt::format("epoch {}/{}", step.epoch + 1, options_.epochs), step.step, total_steps_,
                   fmt::format("loss {:.4f}  lr {:.4g}  {:.0f} img/s  mem {}", last_loss_, step.lr, speed,
                               format_bytes(memory)));
  return last_loss_;
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
  validation_batches_->start(0);
  while (const std::optional<Batch> batch = validation_batches_->next()) {
    if (interrupted()) return std::nullopt;
    const Tensor logits = (*model_)(batch->images);
    losses.emplace_back(cross_entropy(logits, batch->labels), batch->size());
    accuracy.add(logits, batch->labels);
    progress_.update("validation", batch->step + 1, validation_->batches_per_epoch(), "");
  }
  double loss_sum = 0;
  for (const auto& [loss, count] : losses) loss_sum += loss.item() * double(count);
  TAPER_CHECK(accuracy.count() > 0, "the validation set has no readable picture");
  return Score{accuracy.top1(), accuracy.top5(), loss_sum / double(accuracy.count())};
}

void Training::write_reports() {
  if (profile_) {
    profile_->finish();
    fmt::print("{}\n", profile_->outcome());
  }
  if (!options_.memory_report.empty()) {
    write_memory_report(options_.memory_report);
    fmt::print("memory report in {}; open it in a browser\n", printable(options_.memory_report));
  }
}

std::vector<std::string> Training::broken_pictures() const {
  std::set<std::string> broken;  // the same folder may serve for both
  for (const DataLoader* loader : {train_.get(), validation_.get()})
    if (loader) std::ranges::copy(loader->broken_pictures(), std::inserter(broken, broken.end()));
  return {broken.begin(), broken.end()};
}

void Training::report_broken() {
  const std::vector<std::string> broken = broken_pictures();
  if (broken.size() == broken_told_) return;
  broken_told_ = broken.size();
  constexpr size_t kShown = 5;
  std::fprintf(stderr, "%zu unreadable %s left out:\n", broken.size(),
               broken.size() == 1 ? "picture was" : "pictures were");
  for (size_t i = 0; i < std::min(broken.size(), kShown); ++i)
    std::fprintf(stderr, "  %s\n", broken[i].c_str());
  if (broken.size() > kShown) std::fprintf(stderr, "  and %zu more\n", broken.size() - kShown);
}

void Training::report_benchmark() const {
  const AlgorithmStatistics done = algorithm_cache().statistics();
  fmt::print("benchmark: {} problems measured in {:.1f} s, {} known from earlier runs", done.benchmarked,
             done.benchmark_seconds, done.recalled);
  if (done.left_out > 0) fmt::print("; {} algorithms left out for lack of time", done.left_out);
  if (done.unmeasured > 0)
    fmt::print("; {} problems left to the estimates (--benchmark-seconds {:g})", done.unmeasured,
               options_.benchmark_seconds);
  fmt::print("\n");
}

void Training::write_summary(double seconds, bool was_interrupted) const {
  nlohmann::ordered_json summary;
  summary["arch"] = options_.arch;
  summary["dataset"] = options_.dataset;
  summary["top1"] = nullptr;
  summary["top5"] = nullptr;
  if (score_) {
    summary["top1"] = score_->top1;
    summary["top5"] = score_->top5;
  }
  summary["final_loss"] = nullptr;
  summary["images_per_second"] = nullptr;
  if (step_ > 0) {
    summary["final_loss"] = last_loss_;
    summary["images_per_second"] = median(images_per_second_);
  } else if (score_) {
    summary["final_loss"] = score_->loss;
  }
  summary["steps"] = step_;
  summary["interrupted"] = was_interrupted;
  std::vector<std::string> broken = broken_pictures();
  summary["unreadable_pictures"] = broken.size();
  broken.resize(std::min<size_t>(broken.size(), 100));
  summary["unreadable_first"] = broken;
  summary["seconds"] = seconds;
  summary["parameters"] = model_->parameter_count();
  summary["device"] = options_.device.str();
  summary["dtype"] = name(options_.dtype);
  summary["peak_memory_bytes"] = allocator_for(options_.device).stats().peak_allocated_bytes;
  summary["version"] = kVersion;
  write_file_atomically(options_.summary, summary.dump(2) + "\n");
}

}  // namespace taper
