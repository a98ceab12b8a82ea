// Trainings whose GradScaler skips updates: a skipped update changes no bit, and log, console and summary tell of it.

#include "taper/nn/amp/grad_scaler.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>

#include "taper/autograd/functions.h"
#include "taper/core/generator.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/relu.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/optim/adamw.h"
#include "taper/nn/optim/lamb.h"
#include "taper/nn/optim/lars.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/console.h"
#include "taper/nn/train/run_summary.h"
#include "taper/nn/train/step_log.h"
#include "taper/nn/train/train_loop.h"
#include "taper/ops/copy/copy.h"
#include "taper/ops/copy/create.h"
#include "temporary_folder.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;

namespace {

constexpr double kInf = INFINITY;

enum class Kind : uint8_t { kSgd, kAdamW, kLamb, kLars };

/// Everything that a step can change.
struct Learner {
  Learner(Device device, Kind kind) : count(ops::zeros({}, {.dtype = kInt64, .device = device})) {
    manual_seed(3);
    model.add<Flatten>().add<Linear>(3 * 8 * 8, 16).add<ReLU>().add<Linear>(16, 10);
    model.to(device);
    if (kind == Kind::kSgd) {
      optimizer = std::make_unique<SGD>(model.named_parameters(),
                                        SgdOptions{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3});
    } else if (kind == Kind::kAdamW) {
      optimizer = std::make_unique<AdamW>(model.named_parameters(), AdamWOptions{.lr = 0.01});
    } else if (kind == Kind::kLamb) {
      optimizer = std::make_unique<Lamb>(model.named_parameters(), LambOptions{.lr = 0.01});
    } else {
      optimizer = std::make_unique<Lars>(model.named_parameters(),
                                         LarsOptions{.lr = 1, .momentum = 0.9, .weight_decay = 1e-3});
    }
    schedule = with_warmup(*optimizer, 3, std::make_shared<CosineAnnealingLr>(*optimizer, 20));
    NamedTensors averaged = model.named_parameters();
    averaged.emplace_back("count", count);
    ema.emplace(averaged, 0.5);
  }

  /// The loss of a batch; infinite for some. Counts batches in a tensor that is averaged.
  LossFunction loss(const std::vector<bool>& infinite = {}) {
    return [this, infinite](const Batch& batch) {
      ops::fill_(count, double(batch.step));
      const Tensor right = classification_loss(model)(batch);
      return !infinite.empty() && infinite[size_t(batch.step)] ? right * kInf : right;
    };
  }

  /// All values, to compare bits.
  std::map<std::string, std::vector<double>> state() {
    std::map<std::string, std::vector<double>> values;
    const auto keep = [&](const std::string& owner, const SavedState& saved) {
      for (const auto& [name, tensor] : saved.tensors) values[owner + name] = ops::to_vector<double>(tensor);
      for (const auto& [name, value] : saved.numbers) values[owner + name] = {value};
    };
    for (const auto& [name, tensor] : model.named_parameters())
      values["model " + name] = ops::to_vector<double>(tensor);
    keep("schedule ", schedule->state_dict());
    keep("optimizer ", optimizer->state_dict());
    keep("average ", ema->state_dict());
    return values;
  }

  Sequential model;
  Tensor count;
  std::unique_ptr<Optimizer> optimizer;
  std::shared_ptr<LrScheduler> schedule;
  std::optional<Ema> ema;
};

std::vector<Batch> some_batches(Device device, size_t count) {
  DataLoader loader(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), evaluation_transform(8, 8),
                    {.batch_size = 20, .device = device});
  loader.start(0);
  std::vector<Batch> batches;
  while (batches.size() < count) batches.push_back(*loader.next());
  return batches;
}

}  // namespace

TEST_CASE("a skipped update changes no bit of parameters, memory, counts, average and schedule") {
  const Device device = GENERATE(from_range(test_devices()));
  const Kind kind = GENERATE(Kind::kSgd, Kind::kAdamW, Kind::kLamb, Kind::kLars);
  const bool read_losses = GENERATE(true, false);
  const std::vector<bool> infinite = {true,  false, false, true, true,  true, false, true,
                                      false, false, false, true, false, true, true,  false};
  const std::vector<Batch> batches = some_batches(device, infinite.size());
  Learner scaled(device, kind), plain(device, kind);
  GradScaler scaler;
  TrainStep step(scaled.loss(infinite), *scaled.optimizer,
                 {.clip_grad = 1, .ema = &*scaled.ema, .schedule = scaled.schedule.get(), .scaler = &scaler});
  TrainStep plain_step(plain.loss(), *plain.optimizer,
                       {.clip_grad = 1, .ema = &*plain.ema, .schedule = plain.schedule.get()});
  std::vector<EnqueuedStep> steps;
  std::vector<double> rates, losses;
  double scale = 65536;
  for (size_t i = 0; i < batches.size(); ++i) {
    INFO("step " << i);
    steps.push_back(step({batches[i]}));
    if (read_losses && i > 0) steps[i - 1].loss();
    if (infinite[i]) continue;
    const EnqueuedStep expected = plain_step({batches[i]});
    losses.push_back(expected.loss());
    rates.push_back(expected.lr());
    CHECK_FALSE(expected.skipped());
    CHECK_FALSE(expected.scale().has_value());
    if (i % 5 == 1) CHECK(scaled.state() == plain.state());  // resolves what is in flight
  }
  CHECK(scaled.state() == plain.state());
  CHECK(scaled.schedule->steps() == int64_t(rates.size()));
  CHECK(scaled.optimizer->lr() == plain.optimizer->lr());
  size_t updates = 0;
  for (size_t i = 0; i < steps.size(); ++i) {
    INFO("step " << i);
    CHECK(steps[i].skipped() == infinite[i]);
    CHECK(std::isfinite(steps[i].loss()) != infinite[i]);
    CHECK(steps[i].scale() == scale);
    if (infinite[i]) {
      scale /= 2;
    } else {
      CHECK(steps[i].loss() == losses[updates]);
      CHECK(steps[i].lr() == rates[updates++]);
    }
  }
  CHECK(scaler.get_scale() == scale);
}

TEST_CASE("gradients that f16 cannot hold arrive with a scaler") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    const std::vector<Batch> batches = some_batches(device, 1);
    const auto weight_grad = [&](std::optional<DType> autocast, GradScaler* scaler) {
      Learner learner(device, Kind::kSgd);
      const LossFunction right = learner.loss();
      const LossFunction tiny = [&](const Batch& batch) { return right(batch) * 1e-6; };
      TrainStep step(tiny, *learner.optimizer, {.autocast = autocast, .scaler = scaler});
      CHECK_FALSE(step({batches[0]}).skipped());
      return ops::to_vector<double>(learner.model.parameters()[2].grad());
    };
    GradScaler scaler;
    const auto f32 = weight_grad({}, nullptr), lost = weight_grad(kFloat16, nullptr),
               kept = weight_grad(kFloat16, &scaler);
    double largest = 0, error = 0, lost_error = 0;
    for (size_t i = 0; i < f32.size(); ++i) {
      largest = std::max(largest, std::abs(f32[i]));
      error = std::max(error, std::abs(kept[i] - f32[i]));
      lost_error = std::max(lost_error, std::abs(lost[i] - f32[i]));
    }
    CHECK(error < 0.01 * largest);
    CHECK(lost_error > 0.2 * largest);
  }
}

TEST_CASE("a schedule that is set while steps are in flight forgets them") {
  for (const Device device : test_devices()) {
    const Tensor w = ops::to_device(from_vector<float>({1, 2}), device).set_requires_grad();
    SGD optimizer({w}, {.lr = 1});
    StepLr schedule(optimizer, 1, 0.5);
    const auto rate = [&] {
      w.set_grad(ops::zeros({2}, {.device = device}));
      optimizer.step();
      return ops::item(optimizer.lr_on_device());
    };
    const Tensor skip = ops::ones({1}, {.device = device});
    CHECK(rate() == 1);
    schedule.step(skip);
    CHECK(rate() == 1);
    schedule.set_step(1);
    CHECK(rate() == 0.5);
    schedule.step(skip);
    schedule.step();
    CHECK(schedule.steps() == 2);
    CHECK(rate() == 0.25);
    schedule.step(skip);
    schedule.load_state_dict({.tensors = {}, .numbers = {{"step", 3}}});
    CHECK(rate() == 0.125);
    schedule.step(skip);
    optimizer.lr() = 7;
    CHECK(rate() == 7);
    CHECK(schedule.state_dict().numbers.at("step") == 3);
  }
}

TEST_CASE("log, console and summary say the scale and what was skipped") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    const TemporaryFolder folder;
    const std::string log = folder / "log.jsonl", summary = folder / "summary.json";
    Learner learner(device, Kind::kSgd);
    DataLoader batches(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain),
                       evaluation_transform(8, 8), {.batch_size = 300, .drop_last = true, .device = device});
    const TrainPlan plan(batches, {.epochs = 1});  // 4 steps
    GradScaler scaler;
    TrainingRun run;
    run.add(std::make_shared<StepLog>(log, StepLogOptions{.deterministic = true}));
    run.add(
        std::make_shared<RunSummary>(summary, RunDescription{.arch = "", .dataset = "", .device = device}));
    const TrainLoop loop = {
        .plan = plan,
        .model = learner.model,
        .batches = batches,
        .step = TrainStep(learner.loss({false, true, false, true}), *learner.optimizer, {.scaler = &scaler})};
    const Outcome& outcome = run.execute([&] { loop.train(run); });
    CHECK(outcome.ending == Ending::kFinished);
    CHECK(outcome.steps == 4);
    CHECK(outcome.skipped_updates == 2);
    std::ifstream lines(log);
    const std::vector<std::string> expected = {
        R"("scale":65536.0,"skipped":false)", R"("scale":65536.0,"skipped":true)",
        R"("scale":32768.0,"skipped":false)", R"("scale":32768.0,"skipped":true)"};
    std::string line;
    for (const std::string& part : expected) {
      REQUIRE(std::getline(lines, line));
      CHECK_THAT(line, Contains(part));
    }
    std::ifstream file(summary);
    CHECK_THAT(std::string(std::istreambuf_iterator<char>(file), {}), Contains("\"skipped_updates\": 2"));
  }
}

TEST_CASE("an epoch's loss is that of its finite losses, and updates that are always skipped end the run") {
  struct Epochs : TrainSink {
    void on_epoch_end(const EpochRecord& record) override { losses.push_back(record.loss); }
    std::vector<double> losses;
  };
  for (const Device device : test_devices()) {
    INFO(device.str());
    Learner learner(device, Kind::kSgd);
    DataLoader batches(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain),
                       evaluation_transform(8, 8), {.batch_size = 300, .drop_last = true, .device = device});
    GradScaler scaler;
    TrainingRun run;
    const auto epochs = std::make_shared<Epochs>();
    run.add(epochs);
    int calls = 0;
    const LossFunction right = learner.loss();
    const LossFunction loss = [&](const Batch& batch) {
      const bool first_steps = ++calls <= 8;
      return right(batch) * (first_steps ? calls % 2 == 0 ? kInf : 1 : NAN);
    };
    const TrainLoop loop = {.plan = TrainPlan(batches, {.epochs = 100}),
                            .model = learner.model,
                            .batches = batches,
                            .step = TrainStep(loss, *learner.optimizer, {.scaler = &scaler})};
    const Outcome& outcome = run.execute([&] { loop.train(run); });
    CHECK(outcome.ending == Ending::kNotFinite);
    REQUIRE(outcome.errors.size() == 1);
    CHECK_THAT(outcome.errors[0], Contains("100 updates in a row were skipped"));
    CHECK(outcome.skipped_updates == 3 + 100);
    CHECK(std::isfinite(epochs->losses.at(1)));
    CHECK(epochs->losses.at(1) < epochs->losses.at(0));
  }
}

TEST_CASE("an epoch whose updates were all skipped has the mean of its losses") {
  struct Records : TrainSink {
    void on_step_end(const StepRecord& record) override {
      CHECK(record.skipped);
      sum += record.loss;
    }
    void on_epoch_end(const EpochRecord& record) override { epoch = record.loss; }
    double sum = 0, epoch = 0;
  };
  Learner learner(kCPU, Kind::kSgd);
  DataLoader batches(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain),
                     evaluation_transform(8, 8), {.batch_size = 300, .drop_last = true});
  GradScaler scaler({.init_scale = 1e38});  // the losses are finite, and their scaled gradients are not
  TrainingRun run;
  const auto records = std::make_shared<Records>();
  run.add(records);
  const TrainPlan plan(batches, {.epochs = 1, .max_steps = 2});
  const LossFunction right = learner.loss();
  const LossFunction loss = [&](const Batch& batch) { return right(batch) * 1000; };
  const TrainLoop loop = {.plan = plan,
                          .model = learner.model,
                          .batches = batches,
                          .step = TrainStep(loss, *learner.optimizer, {.scaler = &scaler})};
  CHECK(run.execute([&] { loop.train(run); }).skipped_updates == 2);
  CHECK(records->epoch == Approx(records->sum / 2));
  CHECK(records->epoch > 1000);
}
