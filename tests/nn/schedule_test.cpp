// Learning rates over time: torch.optim.lr_scheduler's numbers, step by step and score by score; resuming.

#include "taper/nn/optim/schedule.h"

#include <cmath>
#include <limits>

#include "oracle.h"
#include "oracle_cases.h"
#include "taper/nn/optim/plateau.h"
#include "taper/nn/optim/sgd.h"
#include "taper/ops/copy/create.h"
#include "test_tensors.h"
#include "tolerance.h"

using namespace taper;
using Catch::Contains;

namespace {

std::shared_ptr<LrScheduler> make_schedule(const OracleCase& c, Optimizer& optimizer) {
  const auto count = [&](const char* name) { return int64_t(c.number(name)); };
  if (c.op == "step") return std::make_shared<StepLr>(optimizer, count("step_size"), c.number("gamma"));
  if (c.op == "multi_step") {
    return std::make_shared<MultiStepLr>(optimizer, c.list("milestones"), c.number("gamma"));
  }
  if (c.op == "cosine") {
    return std::make_shared<CosineAnnealingLr>(optimizer, count("total_steps"), c.number("min_lr"));
  }
  if (c.op == "linear") {
    return std::make_shared<LinearLr>(optimizer, count("total_steps"), c.number("start_factor"),
                                      c.number("end_factor"));
  }
  if (c.op == "exponential") return std::make_shared<ExponentialLr>(optimizer, c.number("gamma"));
  if (c.op == "polynomial") {
    return std::make_shared<PolynomialLr>(optimizer, count("total_steps"), c.number("power"));
  }
  if (c.op == "warmup_cosine") {
    auto cosine = std::make_shared<CosineAnnealingLr>(optimizer, count("total_steps"));
    return with_warmup(optimizer, count("warmup"), cosine, c.number("start_factor"));
  }
  REQUIRE(c.op == "one_cycle");
  return std::make_shared<OneCycleLr>(optimizer,
                                      OneCycleOptions{.max_lr = {0.7, 0.1},
                                                      .total_steps = count("total_steps"),
                                                      .pct_start = c.number("pct_start"),
                                                      .linear = c.flag("linear"),
                                                      .cycle_momentum = c.flag("cycle_momentum"),
                                                      .div_factor = c.number("div_factor"),
                                                      .final_div_factor = c.number("final_div_factor"),
                                                      .three_phase = c.flag("three_phase")});
}

/// Two groups of one parameter each, as in the oracle.
SGD two_groups() {
  return SGD(std::vector<SGD::Group>{{{{"a", ops::zeros({1})}}, {.lr = 0.5, .momentum = 0.9}},
                                     {{{"b", ops::zeros({1})}}, {.lr = 0.02, .momentum = 0.9}}});
}

}  // namespace

TEST_CASE("schedules follow torch.optim.lr_scheduler step by step", "[oracle]") {
  int compared = 0;
  for (const OracleCase& c : oracle_cases("schedule")) {
    if (c.op == "plateau") continue;
    INFO(c.name);
    SGD optimizer = two_groups();
    const auto schedule = make_schedule(c, optimizer);
    const Tensor lr = c["lr"], momentum = c["momentum"];
    for (int64_t step = 0; step < lr.size(0); ++step, schedule->step()) {
      INFO("step " << step);
      for (size_t group = 0; group < 2; ++group) {
        CHECK(optimizer.lr(group) ==
              Approx(lr.data<double>()[step * 2 + int64_t(group)]).epsilon(1e-12).margin(1e-15));
        CHECK(optimizer.momentum(group) ==
              Approx(momentum.data<double>()[step * 2 + int64_t(group)]).epsilon(1e-12));
        CHECK(schedule->lr_at(group, step) == optimizer.lr(group));
      }
    }
    ++compared;
  }
  CHECK((compared >= 20 || !oracle_dir("schedule")));
}

TEST_CASE("a schedule goes on where its saved state stopped") {
  SGD one = two_groups(), two = two_groups();
  const auto make = [](SGD& optimizer) {
    return with_warmup(optimizer, 4, std::make_shared<CosineAnnealingLr>(optimizer, 20));
  };
  const auto first = make(one);
  for (int i = 0; i < 9; ++i) first->step();
  const auto second = make(two);
  second->load_state_dict(first->state_dict());
  for (int i = 0; i < 5; ++i, first->step(), second->step()) {
    CHECK(one.lr(0) == two.lr(0));
    CHECK(one.lr(1) == two.lr(1));
  }
  CHECK_THROWS_WITH(second->load_state_dict({}), Contains("no step"));
}

TEST_CASE("a warm-up of no steps is the schedule itself") {
  SGD optimizer = two_groups();
  const auto cosine = std::make_shared<CosineAnnealingLr>(optimizer, 20);
  CHECK(with_warmup(optimizer, 0, cosine) == cosine);
}

TEST_CASE("a polynomial ends at its least learning rate, and stays there") {
  SGD optimizer = two_groups();
  const PolynomialLr schedule(optimizer, 10, 2, 0.1);
  CHECK(schedule.lr_at(0, 0) == 0.5);
  CHECK(schedule.lr_at(0, 5) == Approx(0.1 + 0.4 / 4));
  CHECK(schedule.lr_at(0, 10) == 0.1);
  CHECK(schedule.lr_at(0, 11) == 0.1);
}

TEST_CASE("a plateau follows ReduceLROnPlateau score by score, and goes on from any of its states",
          "[oracle]") {
  int compared = 0;
  for (const OracleCase& c : oracle_cases("schedule")) {
    if (c.op != "plateau") continue;
    INFO(c.name);
    const ReduceLrOnPlateauOptions options = {.maximize = c.text("mode") == "max",
                                              .factor = c.number("factor"),
                                              .patience = int64_t(c.number("patience")),
                                              .threshold = c.number("threshold"),
                                              .relative_threshold = c.text("threshold_mode") == "rel",
                                              .cooldown = int64_t(c.number("cooldown")),
                                              .min_lr = c.number("min_lr"),
                                              .eps = c.number("eps")};
    SGD one = two_groups();
    ReduceLrOnPlateau schedule(one, options);
    const Tensor scores = c["scores"], lr = c["lr"];
    for (int64_t i = 0; i < scores.size(0); ++i) {
      INFO("score " << i);
      SGD two = two_groups();
      ReduceLrOnPlateau resumed(two, options);
      resumed.load_state_dict(schedule.state_dict());
      for (ReduceLrOnPlateau* each : {&schedule, &resumed}) each->observe(scores.data<double>()[i]);
      for (size_t group = 0; group < 2; ++group) {
        CHECK(one.lr(group) == Approx(lr.data<double>()[i * 2 + int64_t(group)]).epsilon(1e-12));
        CHECK(two.lr(group) == one.lr(group));
        CHECK(schedule.lr_at(group, 1000) == one.lr(group));
      }
      CHECK(resumed.state_dict().numbers == schedule.state_dict().numbers);
    }
    ++compared;
  }
  CHECK((compared >= 12 || !oracle_dir("schedule")));
}

TEST_CASE("a plateau after a warm-up counts the evaluations at its turn, and resumes") {
  const auto make = [](SGD& optimizer) {
    return with_warmup(optimizer, 4,
                       std::make_shared<ReduceLrOnPlateau>(
                           optimizer, ReduceLrOnPlateauOptions{.factor = 0.5, .patience = 1}));
  };
  SGD one = two_groups(), two = two_groups();
  const auto schedule = make(one);
  const auto steps = [&](int count) {
    for (int i = 0; i < count; ++i) schedule->step();
  };
  CHECK(one.lr() == Approx(0.005));
  steps(2);
  const double warming = one.lr();
  for (int i = 0; i < 5; ++i) schedule->observe(1);  // not its turn
  CHECK(one.lr() == warming);
  steps(2);
  CHECK(one.lr() == 0.5);
  schedule->observe(1);
  schedule->observe(1);
  CHECK(one.lr() == 0.5);
  const SavedState saved = schedule->state_dict();
  CHECK(saved.numbers.at("step") == 4);
  CHECK(saved.numbers.at("schedule1.bad_epochs") == 1);
  schedule->observe(std::nan(""));  // no better
  CHECK(one.lr() == 0.25);          // at once
  CHECK(one.lr(1) == 0.01);
  steps(3);
  CHECK(one.lr() == 0.25);
  CHECK(schedule->steps() == 7);

  const auto resumed = make(two);
  resumed->load_state_dict(saved);
  CHECK(two.lr() == 0.5);
  resumed->observe(1);
  CHECK(two.lr() == 0.25);
  SavedState damaged = saved;
  damaged.numbers.erase("schedule1.best");
  const auto before = resumed->state_dict().numbers;
  CHECK_THROWS_WITH(resumed->load_state_dict(damaged), Contains("no schedule1.best"));
  CHECK(resumed->state_dict().numbers == before);
}

TEST_CASE("on a GPU, what a plateau lowers is lowered for the next update, whatever was skipped") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    const Tensor w = ops::to_device(from_vector<float>({1, 2}), device).set_requires_grad();
    SGD optimizer({w}, {.lr = 1});
    ReduceLrOnPlateau schedule(optimizer, {.factor = 0.5, .patience = 0});
    const auto rate = [&] {
      w.set_grad(ops::zeros({2}, {.device = device}));
      optimizer.step();
      return ops::item(optimizer.lr_on_device());
    };
    const Tensor skip = ops::ones({1}, {.device = device});
    schedule.observe(1);
    CHECK(rate() == 1);
    schedule.step(skip);
    schedule.step(skip);
    schedule.step();
    schedule.observe(1);
    CHECK(rate() == 0.5);
    CHECK(schedule.steps() == 1);
  }
}

TEST_CASE("schedules refuse options that make no sense") {
  SGD optimizer(std::vector<Tensor>{ops::ones({2})});
  CHECK_THROWS_WITH(StepLr(optimizer, 0), Contains("StepLr: step_size"));
  CHECK_THROWS_WITH(CosineAnnealingLr(optimizer, 0), Contains("CosineAnnealingLr: total_steps"));
  CHECK_THROWS_WITH(LinearLr(optimizer, 0), Contains("LinearLr: total_steps"));
  CHECK_THROWS_WITH(OneCycleLr(optimizer, {.max_lr = {1, 2}, .total_steps = 5}),
                    Contains("2 max_lr for 1 groups"));
  OneCycleLr cycle(optimizer, {.max_lr = {1}, .total_steps = 5});
  CHECK_THROWS_WITH(cycle.set_step(6), Contains("step 6 is beyond the last of 5"));
  CHECK_THROWS_WITH(SequentialLr(optimizer, {}, {}), Contains("0 schedules need -1 milestones"));
  CHECK_THROWS_WITH(ExponentialLr(optimizer, 0), Contains("ExponentialLr: gamma must be above 0"));
  CHECK_THROWS_WITH(PolynomialLr(optimizer, 0), Contains("PolynomialLr: total_steps"));
  CHECK_THROWS_WITH(PolynomialLr(optimizer, 1, -1), Contains("PolynomialLr: power"));
  CHECK_THROWS_WITH(ReduceLrOnPlateau(optimizer, {.factor = 1}), Contains("factor must be between 0 and 1"));
  CHECK_THROWS_WITH(ReduceLrOnPlateau(optimizer, {.patience = -1}), Contains("patience (-1)"));
  CHECK_THROWS_WITH(ReduceLrOnPlateau(optimizer, {.min_lr = -1}), Contains("min_lr (-1)"));
}
