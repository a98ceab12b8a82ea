// Training with the library's parts: a loop as a user writes it, the events that sinks receive, and every way
// in which it can end.

#include <catch2/catch.hpp>
#include <cmath>
#include <new>

#include "taper/core/generator.h"
#include "taper/nn/data/digits_dataset.h"
#include "taper/nn/layers/flatten.h"
#include "taper/nn/layers/linear.h"
#include "taper/nn/layers/sequential.h"
#include "taper/nn/optim/schedule.h"
#include "taper/nn/optim/sgd.h"
#include "taper/nn/train/evaluate.h"
#include "taper/nn/train/schedule_sink.h"
#include "taper/nn/train/train_loop.h"
#include "taper/ops/copy/copy.h"
#include "test_tensors.h"

using namespace taper;
using Catch::Contains;
using Strings = std::vector<std::string>;

namespace {

/// Keeps what it is told.
struct Recorder : TrainSink {
  void on_step_begin(int64_t step) override { events.push_back(fmt::format("begin {}", step)); }
  void on_step_enqueued(int64_t step) override { events.push_back(fmt::format("enqueued {}", step)); }
  void on_step_end(const StepRecord& record) override {
    events.push_back(fmt::format("end {}", record.step));
    steps.push_back(record);
    if (record.step == interrupt_at) interrupted = true;
  }
  void on_evaluated(int64_t done, int64_t total) override {
    events.push_back(fmt::format("evaluated {} of {}", done, total));
  }
  void on_epoch_end(const EpochRecord& record) override {
    events.push_back(fmt::format("epoch {}", record.epoch));
    epochs.push_back(record);
  }
  void on_sink_dropped(const std::string& error) override { events.push_back("dropped: " + error); }
  void on_run_end(const Outcome& outcome) override {
    events.push_back(std::string("ended: ") + name_of(outcome.ending));
  }

  int64_t interrupt_at = 0;
  bool interrupted = false;
  Strings events;
  std::vector<StepRecord> steps;
  std::vector<EpochRecord> epochs;
};

/// A linear classifier of the digits, with everything that its training needs.
struct Digits10 {
  explicit Digits10(Device device, int64_t batch_size = 300)
      : train(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTrain), evaluation_transform(8, 8),
              {.batch_size = batch_size, .shuffle = true, .drop_last = true, .device = device}),
        test(std::make_shared<DigitsDataset>(DigitsDataset::Split::kTest), evaluation_transform(8, 8),
             {.batch_size = 120, .device = device}) {
    manual_seed(3);
    model.add<Flatten>().add<Linear>(3 * 8 * 8, 10);
    model.to(device);
    optimizer.emplace(model.named_parameters(), SgdOptions{.lr = 0.05});
    run.add(recorder);
  }

  TrainLoop loop(const TrainPlan& plan) {
    return {.plan = plan,
            .model = model,
            .batches = train,
            .step = TrainStep(classification_loss(model), *optimizer),
            .evaluate = [this] { return evaluate(model, test, {.run = &run}); }};
  }

  Sequential model;
  DataLoader train, test;
  std::optional<SGD> optimizer;
  std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>();
  TrainingRun run{[this] { return recorder->interrupted; }};
};

}  // namespace

TEST_CASE("a loop trains, and its sinks hear of every step and epoch in order") {
  std::vector<double> cpu_losses;
  for (const Device device : test_devices()) {
    INFO(device.str());
    Digits10 digits(device);
    const TrainPlan plan(digits.train, {.epochs = 2, .accumulate = 2});  // 4 batches are 2 steps
    const Outcome& outcome = digits.run.execute([&] { digits.loop(plan).train(digits.run); });
    CHECK(outcome.ending == Ending::kFinished);
    CHECK(outcome.errors.empty());
    CHECK(outcome.steps == 4);
    REQUIRE(digits.recorder->steps.size() == 4);
    const Strings cpu = {"begin 1", "end 1", "enqueued 1", "begin 2", "end 2", "enqueued 2"};
    const Strings gpu = {"begin 1", "enqueued 1", "begin 2", "end 1", "enqueued 2", "end 2"};
    Strings expected = device.is_cpu() ? cpu : gpu;
    for (const char* event : {"evaluated 1 of 3", "evaluated 2 of 3", "evaluated 3 of 3", "epoch 0"})
      expected.emplace_back(event);
    const Strings heard = digits.recorder->events;
    CHECK(Strings(heard.begin(), heard.begin() + ptrdiff_t(expected.size())) == expected);
    CHECK(heard.back() == "ended: finished");
    CHECK(heard.size() == 2 * expected.size() + 1);

    const auto& [first, second, third, last] = std::tie(digits.recorder->steps[0], digits.recorder->steps[1],
                                                        digits.recorder->steps[2], digits.recorder->steps[3]);
    CHECK(last.loss < 0.8 * first.loss);
    CHECK(outcome.loss == last.loss);
    CHECK(third.epoch == 1);
    CHECK(second.lr == 0.05);
    CHECK(first.images_per_second > 0);
    CHECK(outcome.speeds.size() == 1);  // the first three fill caches
    CHECK(outcome.images_per_second() == last.images_per_second);
    CHECK(digits.recorder->epochs[0].loss == Approx((first.loss + second.loss) / 2));
    CHECK(digits.recorder->epochs[1].score->top1 == outcome.score->top1);
    CHECK(outcome.score->top1 > 0.5);
    CHECK(outcome.score->top5 > outcome.score->top1);
    for (size_t i = 0; i < 4; ++i) {
      if (device.is_cpu()) cpu_losses.push_back(digits.recorder->steps[i].loss);
      CHECK(digits.recorder->steps[i].loss == Approx(cpu_losses[i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("an interrupted run ends after its step, with all that was enqueued told") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    Digits10 digits(device);
    digits.recorder->interrupt_at = 2;
    const TrainPlan plan(digits.train, {.epochs = 5});
    const Outcome& outcome = digits.run.execute([&] { digits.loop(plan).train(digits.run); });
    CHECK(outcome.ending == Ending::kInterrupted);
    CHECK(outcome.steps == (device.is_cpu() ? 2 : 3));  // on a GPU the third was enqueued
    CHECK(int64_t(digits.recorder->steps.size()) == outcome.steps);
    CHECK(digits.recorder->epochs.empty());
    CHECK_FALSE(outcome.score.has_value());
    CHECK_FALSE(evaluate(digits.model, digits.test, {.run = &digits.run}).has_value());
    CHECK(digits.recorder->events.back() == "ended: interrupted");
  }
}

TEST_CASE("a loss that is NaN or infinite ends the run") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    for (const double wrong : {double(NAN), double(INFINITY)}) {
      Digits10 digits(device);
      int calls = 0;
      const LossFunction loss = [&](const Batch& batch) {
        const Tensor right = classification_loss(digits.model)(batch);
        return ++calls == 3 ? right * wrong : right;
      };
      const TrainPlan plan(digits.train, {.epochs = 2});
      TrainLoop loop = digits.loop(plan);
      loop.step = TrainStep(loss, *digits.optimizer);
      const Outcome& outcome = digits.run.execute([&] { loop.train(digits.run); });
      CHECK(outcome.ending == Ending::kNotFinite);
      CHECK(outcome.errors ==
            Strings{std::isnan(wrong) ? "the loss became nan in step 3" : "the loss became inf in step 3"});
      CHECK_FALSE(std::isfinite(*outcome.loss));
      CHECK(digits.recorder->steps.size() == 2);
      CHECK(digits.recorder->events.back() == "ended: nan");
    }
  }
  Digits10 digits(kCPU);
  TrainLoop loop = digits.loop(TrainPlan(digits.train, {.max_steps = 2}));
  loop.evaluate = [] { return Score{.loss = -NAN}; };
  const Outcome& outcome = digits.run.execute([&] { loop.train(digits.run); });
  CHECK(outcome.errors == Strings{"the validation loss became nan after step 2"});
  CHECK_FALSE(outcome.score.has_value());
  CHECK_THROWS_WITH(check_finite(NAN, "validation loss", ""), "the validation loss is nan");
}

namespace {

/// A sink whose disk is full from step `from` on, or only when the run ends.
struct Failing : TrainSink {
  explicit Failing(int64_t from_) : from(from_) {}
  void on_step_end(const StepRecord& record) override {
    ++steps;
    if (from > 0 && record.step >= from) fail<FileError>("disk {}: full", from);
  }
  void on_sink_dropped(const std::string& /*error*/) override {
    if (from == 2) throw std::runtime_error("nor could this be said");
  }
  void on_run_end(const Outcome& outcome) override {
    ended = true;
    errors = outcome.errors;
    if (from < 0) fail<FileError>("disk {}: full", from);
  }
  int64_t from;
  int steps = 0;
  bool ended = false;
  Strings errors;
};

}  // namespace

TEST_CASE("a sink that throws is dropped, which the others hear, and training goes on") {
  Digits10 digits(kCPU);
  const auto first = std::make_shared<Failing>(1), second = std::make_shared<Failing>(2),
             at_end = std::make_shared<Failing>(-1), never = std::make_shared<Failing>(0);
  for (const auto& sink : {first, second, at_end, never}) digits.run.add(sink);
  const TrainPlan plan(digits.train, {.epochs = 1});
  const Outcome& outcome = digits.run.execute([&] { digits.loop(plan).train(digits.run); });
  CHECK(outcome.ending == Ending::kFinished);
  CHECK(outcome.steps == 4);
  CHECK(first->steps == 1);
  CHECK_FALSE(first->ended);
  CHECK(second->steps == 1);  // dropped when it was told of the first failure
  CHECK(never->steps == 4);
  CHECK(outcome.errors == Strings{"disk 1: full", "nor could this be said", "disk -1: full"});
  CHECK(never->errors == outcome.errors);  // the last sink hears of all errors
  const Strings& heard = digits.recorder->events;
  CHECK(std::ranges::count(heard, "dropped: disk 1: full") == 1);
  CHECK(std::ranges::count(heard, "dropped: nor could this be said") == 1);
  CHECK(std::ranges::count(heard, "dropped: disk -1: full") == 0);
}

TEST_CASE("what training throws becomes the outcome") {
  const auto ending_of = [](const std::function<void()>& body) { return TrainingRun().execute(body).ending; };
  CHECK(ending_of([] {}) == Ending::kFinished);
  CHECK(ending_of([] { throw OutOfMemoryError("none left"); }) == Ending::kOutOfMemory);
  CHECK(ending_of([] { throw std::bad_alloc(); }) == Ending::kOutOfMemory);
  CHECK(ending_of([] { throw NotFiniteError("nan"); }) == Ending::kNotFinite);
  CHECK(ending_of([] { fail("a reason"); }) == Ending::kFailed);
}

TEST_CASE("a step of two batches is the step of both together") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    Digits10 twice(device), once(device);
    twice.train.start(0);
    const Batch a = *twice.train.next(), b = *twice.train.next();
    const Batch both{cat({a.images, b.images}), cat({a.labels, b.labels})};
    CosineAnnealingLr schedule(*twice.optimizer, 2);
    Ema ema(twice.model.named_parameters(), 0.5);
    TrainStep step(classification_loss(twice.model, 0.1), *twice.optimizer,
                   {.clip_grad = 0.01, .ema = &ema, .schedule = &schedule});
    TrainStep whole(classification_loss(once.model, 0.1), *once.optimizer, {.clip_grad = 0.01});
    const auto before = ops::to_vector<double>(once.model.parameters()[0]);
    const EnqueuedStep enqueued = step({a, b});
    CHECK(enqueued.losses.size() == 2);
    CHECK(enqueued.arrived.has_value() == device.is_cuda());
    CHECK(enqueued.lr() == 0.05);
    CHECK(enqueued.loss() == Approx(whole({both}).loss()));
    CHECK(twice.optimizer->lr() == Approx(0.025));  // half of a cosine
    CHECK(ema.updates() == 1);
    const auto x = ops::to_vector<double>(twice.model.parameters()[0]),
               y = ops::to_vector<double>(once.model.parameters()[0]);
    double moved = 0, apart = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      moved += (y[i] - before[i]) * (y[i] - before[i]);
      apart = std::max(apart, std::abs(x[i] - y[i]));
    }
    CHECK(moved > 0);
    CHECK(std::sqrt(moved) < 0.05 * 0.01);  // what clipping leaves
    CHECK(apart < 1e-7);
    CHECK_THROWS_WITH(step({}), Contains("at least one batch"));
  }
}

TEST_CASE("evaluation takes the averaged weights, and gives them back") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    Digits10 digits(device);
    Ema ema(digits.model.named_parameters(), 0.5);
    const Score before = *evaluate(digits.model, digits.test);
    const TrainPlan plan(digits.train, {.epochs = 2});
    digits.loop(plan).train(digits.run);  // not averaged
    CHECK(digits.run.outcome().score->loss < before.loss);
    const Score averaged = *evaluate(digits.model, digits.test, {.ema = &ema});
    CHECK(averaged.loss == before.loss);
    CHECK(evaluate(digits.model, digits.test)->loss == digits.run.outcome().score->loss);
    CHECK_FALSE(digits.model.is_training());
  }
}

TEST_CASE("a schedule hears each whole epoch's validation loss, or its training loss without an evaluation") {
  struct Heard final : LrScheduler {
    explicit Heard(Optimizer& optimizer) : LrScheduler(optimizer) {}
    double lr_at(size_t /*group*/, int64_t /*step*/) const override { return 0.05; }
    void observe(double score) override { scores.push_back(score); }
    std::vector<double> scores;
  };
  for (const bool evaluates : {true, false}) {
    Digits10 digits(kCPU);
    const auto schedule = std::make_shared<Heard>(*digits.optimizer);
    digits.run.add(std::make_shared<ScheduleSink>(schedule));
    TrainLoop loop = digits.loop(TrainPlan(digits.train, {.epochs = 3, .max_steps = 10}));  // 4 an epoch
    if (!evaluates) loop.evaluate = {};
    digits.run.execute([&] { loop.train(digits.run); });
    const std::vector<EpochRecord>& epochs = digits.recorder->epochs;
    REQUIRE(epochs.size() == 3);
    REQUIRE(schedule->scores.size() == 2);  // a longer run goes on with the third epoch
    for (size_t i = 0; i < 2; ++i) {
      CHECK(epochs[i].is_whole);
      CHECK(schedule->scores[i] == (evaluates ? epochs[i].score->loss : epochs[i].loss));
    }
    CHECK_FALSE(epochs[2].is_whole);
  }
}

TEST_CASE("a plan counts whole steps, and at least one") {
  Digits10 digits(kCPU);  // 4 batches of 300
  const TrainPlan plain(digits.train, {.epochs = 3});
  CHECK(plain.total_steps == 12);
  CHECK(plain.images_per_step == 300);
  const TrainPlan threes(digits.train, {.epochs = 3, .max_steps = 2, .accumulate = 3});
  CHECK(threes.steps_per_epoch == 1);
  CHECK(threes.total_steps == 2);
  CHECK(threes.images_per_step == 900);
  const TrainPlan large(digits.train, {.accumulate = 10});
  CHECK(large.total_steps == 1);
  CHECK(large.images_per_step == 1200);
}
