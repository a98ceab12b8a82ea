// Runs that stop and go on: whatever the moment and however they stop, they end with the bits of a run that never
// stopped.

#include <catch2/catch.hpp>

#include "taper/core/generator.h"
#include "taper/nn/amp/grad_scaler.h"
#include "taper/nn/checkpoint/checkpoint_writer.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/layers/batch_norm2d.h"
#include "taper/nn/layers/conv2d.h"
#include "taper/nn/layers/dropout.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/plateau.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/early_stop.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/run_checkpoints.h"
#include "taper/nn/train/schedule_sink.h"
#include "taper/nn/train/train_loop.h"
#include "taper/nn/train/training_state.h"
#include "taper/ops/copy/copy.h"
#include "temporary_folder.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

/// What a case trains with.
struct Recipe {
  Device device;
  std::optional<DType> amp;
  bool adam = false;  ///< AdamW, and a schedule that watches the score, instead of SGD and a cosine
};

/// Keeps the log of a run as text, and interrupts after a step.
struct Log : TrainSink {
  void on_step_end(const StepRecord& record) override {
    lines.resize(size_t(record.step - 1));  // what was made before is made again
    lines.push_back(fmt::format("{} {} {} {} {} {}", record.step, record.epoch, record.loss, record.lr,
                                record.scale.value_or(0), record.skipped));
    if (record.step == stop_after) stop = true;
  }
  void on_step_begin(int64_t step) override { under_way = step; }
  void on_evaluated(int64_t /*done*/, int64_t /*total*/) override {
    if (stop_in_evaluation) stop = true;
  }
  void on_epoch_end(const EpochRecord& record) override {
    epochs.resize(size_t(record.epoch));
    epochs.push_back(fmt::format("{} {} {}", record.loss, record.score->top1, record.score->loss));
  }
  void on_checkpoint(const CheckpointRecord& record) override {
    CHECK(record.error.empty());
    saved.push_back(record.step);
    if (record.best) best = record.step;
  }

  int64_t stop_after = 0, fail_after = 0, under_way = 0, best = 0;
  bool stop = false, stop_in_evaluation = false;
  std::vector<std::string> lines, epochs;
  std::vector<int64_t> saved;
};

constexpr int64_t kEpochs = 3, kAccumulate = 2;

/// A run with everything that has a state: shuffling, augmentation, dropout, batch norm, accumulation, a schedule, an
/// average, and mixed precision whose first updates overflow.
class Run {
 public:
  Run(const Recipe& recipe, const std::string& folder, std::shared_ptr<Log> log)
      : recipe_(recipe),
        log_(std::move(log)),
        train_(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), training_transform(8),
               {.batch_size = 100,
                .shuffle = true,
                .drop_last = true,
                .workers = 2,
                .device = recipe.device,
                .seed = 4}),
        test_(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest), evaluation_transform(8, 8),
              {.batch_size = 120, .device = recipe.device}),
        writer_(folder, 2) {
    manual_seed(3);
    model_.add<Conv2d>(3, 4, 3, Conv2dOptions{.padding = 1}, kNoBias)
        .add<BatchNorm2d>(4)
        .add<Flatten>()
        .add<Dropout>(0.3)
        .add<Linear>(4 * 8 * 8, 10);
    model_.to(recipe.device);
    if (recipe.adam)
      optimizer_ = std::make_unique<AdamW>(model_.named_parameters(), AdamWOptions{.lr = 0.01});
    else
      optimizer_ = std::make_unique<SGD>(model_.named_parameters(), SgdOptions{.lr = 0.05, .momentum = 0.9});
    NamedTensors averaged = model_.named_parameters();
    for (const auto& buffer : model_.named_buffers()) averaged.push_back(buffer);
    ema_.emplace(averaged, 0.9);
    plan_ = TrainPlan(train_, {.epochs = kEpochs, .accumulate = kAccumulate});
    std::shared_ptr<LrScheduler> after_warmup =
        std::make_shared<CosineAnnealingLr>(*optimizer_, plan_.total_steps - 3);
    if (recipe
            .adam)  // no score is so much better than the one before, so the second lowers the learning rate
      after_warmup = std::make_shared<ReduceLrOnPlateau>(
          *optimizer_, ReduceLrOnPlateauOptions{.factor = 0.5, .patience = 0, .threshold = 0.9});
    schedule_ = with_warmup(*optimizer_, 3, after_warmup);
    scaler_.emplace(
        GradScalerOptions{.init_scale = 1e9, .growth_interval = 5, .enabled = recipe.amp == kFloat16});
    state_.add_optimizer(*optimizer_);
    state_.add("schedule", *schedule_);
    state_.add("ema", *ema_);
    state_.add("scaler", *scaler_);
    state_.add("early_stop", early_stop_);
  }

  /// Trains on from the newest checkpoint, if there is one.
  const Outcome& train(const SaveEvery& every) {
    TrainProgress progress;
    if (const auto found = find_checkpoint(writer_.folder().path())) {
      CHECK(found->damaged.empty());
      const std::vector<std::string> missing = state_.restore(found->checkpoint);
      CHECK((missing.empty() || missing == std::vector<std::string>{"scaler"}));
      progress.load_state_dict(found->checkpoint.part("progress"));
    }
    RunCheckpoints checkpoints(writer_, state_, every);
    run_.add(log_);
    run_.add(std::make_shared<ScheduleSink>(schedule_));
    TrainStep step(classification_loss(model_, 0.1), *optimizer_,
                   {.autocast = recipe_.amp,
                    .clip_grad = 1,
                    .ema = &*ema_,
                    .schedule = schedule_.get(),
                    .scaler = &*scaler_});
    return run_.execute([&] {
      TrainLoop{
          .plan = plan_,
          .model = model_,
          .batches = train_,
          .step =
              [&](const std::vector<Batch>& batches) {
                if (log_->fail_after > 0 && log_->under_way > log_->fail_after) fail("killed");
                return step(batches);
              },
          .evaluate =
              [&] { return evaluate(model_, test_, {.ema = &*ema_, .run = &run_, .autocast = recipe_.amp}); },
          .enough = [this](const EpochRecord& record) { return early_stop_.update(record); },
          .start = progress,
          .checkpoints = &checkpoints}
          .train(run_);
    });
  }

  /// Returns all that there is to compare, as numbers by name.
  std::map<std::string, std::vector<double>> everything() const {
    std::map<std::string, std::vector<double>> all;
    const Checkpoint checkpoint = state_.snapshot();
    for (const auto& [part, state] : checkpoint.parts) {
      for (const auto& [name, tensor] : state.tensors)
        all[part + "/" + name] = ops::to_vector<double>(ops::cast(tensor, kFloat64));
      for (const auto& [name, number] : state.numbers) all[part + "/" + name] = {number};
    }
    all["generator"] = {double(checkpoint.generator.seed), double(checkpoint.generator.counter)};
    return all;
  }
  int64_t total_steps() const { return plan_.total_steps; }

 private:
  Recipe recipe_;
  std::shared_ptr<Log> log_;
  DataLoader train_, test_;
  CheckpointWriter writer_;
  Sequential model_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<Ema> ema_;
  TrainPlan plan_;
  std::shared_ptr<LrScheduler> schedule_;
  std::optional<GradScaler> scaler_;
  EarlyStop early_stop_{kEpochs + 1};
  TrainingState state_{model_};
  TrainingRun run_{[this] { return log_->stop; }};
};

std::vector<Recipe> recipes() {
  std::vector<Recipe> all;
  for (const Device device : test_devices())
    for (const std::optional<DType> amp :
         {std::optional<DType>(), std::optional(kFloat16), std::optional(kBFloat16)})
      if (amp || device.is_cpu()) all.push_back({.device = device, .amp = amp, .adam = amp == kBFloat16});
  return all;
}

}  // namespace

TEST_CASE("a run that is stopped and goes on ends with the bits of one that was not") {
  for (const Recipe& recipe : recipes()) {
    INFO(recipe.device.str() << " " << (recipe.amp ? fmt::format("{}", *recipe.amp) : "f32"));
    const TemporaryFolder whole_folder, folder;
    const auto expected = std::make_shared<Log>();
    Run whole(recipe, whole_folder.path(), expected);
    REQUIRE(whole.train({}).ending == Ending::kFinished);
    REQUIRE(int64_t(expected->lines.size()) == whole.total_steps());
    CHECK(expected->epochs.size() == kEpochs);
    CHECK(expected->saved == std::vector<int64_t>{7, 14, 21});

    const auto log = std::make_shared<Log>();
    const auto go_on = [&](const SaveEvery& every) {
      log->stop = false;
      manual_seed(99);  // another process
      Run run(recipe, folder.path(), log);
      const Outcome& outcome = run.train(every);
      CHECK(outcome.checkpoints.failed == 0);
      if (outcome.ending == Ending::kFinished) CHECK(run.everything() == whole.everything());
      return outcome.ending;
    };
    log->fail_after = 5;  // within the first epoch, a step after the last checkpoint
    CHECK(go_on({.steps = 2}) != Ending::kFinished);
    CHECK(log->saved.back() == 4);
    log->fail_after = 0;
    log->stop_after = 5;
    CHECK(go_on({.steps = 100}) == Ending::kInterrupted);
    CHECK(log->saved.back() ==
          (recipe.device.is_cpu() ? 5 : 6));  // a GPU tells of a step when the next is enqueued
    log->stop_in_evaluation = true;
    CHECK(go_on({.steps = 100}) == Ending::kInterrupted);
    CHECK(log->saved.back() == 7);
    CHECK(log->epochs.empty());
    log->stop_in_evaluation = false;
    log->stop_after = 15;  // the first step of the third epoch
    CHECK(go_on({}) == Ending::kInterrupted);
    CHECK(go_on({.steps = 3}) == Ending::kFinished);
    CHECK(log->lines == expected->lines);
    CHECK(log->epochs == expected->epochs);
    if (recipe.amp == kFloat16) CHECK_THAT(expected->lines[0], Contains("true"));  // skipped
    if (recipe.adam) CHECK_THAT(expected->lines[20], Contains(" 0.005 "));         // lowered once, in step 15
  }
}

TEST_CASE("a run that is finished has nothing left to do") {
  const TemporaryFolder folder;
  const auto log = std::make_shared<Log>();
  const auto train = [&] {
    Run run({.device = kCPU, .amp = {}}, folder.path(), log);
    return run.train({});
  };
  const Outcome first = train();
  CHECK(first.checkpoints.written == kEpochs);
  const Outcome second = train();
  CHECK(second.ending == Ending::kFinished);
  CHECK(second.checkpoints.written == 0);
  CHECK(second.steps == first.steps);
  CHECK(second.loss == first.loss);
  CHECK(second.score->loss == first.score->loss);
  CHECK(int64_t(log->lines.size()) == first.steps);
}

TEST_CASE("what was saved on one device goes on on another, and with mixed precision switched") {
  const TemporaryFolder folder;
  const auto log = std::make_shared<Log>();
  log->stop_after = 2;
  for (const Device device : test_devices()) {
    for (const std::optional<DType> amp : {std::optional(kFloat16), std::optional<DType>()}) {
      log->stop = false;
      log->stop_after += 2;
      Run run({.device = device, .amp = amp}, folder.path(), log);
      const Outcome& outcome = run.train({});
      CHECK(outcome.ending == Ending::kInterrupted);
      CHECK(outcome.steps == log->stop_after + (device.is_cpu() ? 0 : 1));
      CHECK(std::isfinite(*outcome.loss));
    }
  }
}

TEST_CASE("a score is better if top1 is higher, or equal at a lower loss") {
  TrainProgress progress;
  CHECK(progress.take_score({.top1 = 0.5, .top5 = 0.9, .loss = 1}));
  CHECK_FALSE(progress.take_score({.top1 = 0.4, .top5 = 0.99, .loss = 0.5}));
  CHECK_FALSE(progress.take_score({.top1 = 0.5, .top5 = 0.9, .loss = 1}));
  CHECK(progress.take_score({.top1 = 0.5, .top5 = 0.9, .loss = 0.9}));
  CHECK(progress.take_score({.top1 = 0.6, .top5 = 0.9, .loss = 3}));
  TrainProgress loaded;
  loaded.load_state_dict(progress.state_dict());
  CHECK(loaded.state_dict().numbers == progress.state_dict().numbers);
  CHECK(loaded.best->loss == 3);
  SavedState without = progress.state_dict();
  without.numbers.erase("epoch_images");
  CHECK_THROWS_WITH(loaded.load_state_dict(without), Contains("epoch_images"));
}
